from traintime.forecast.trial import TRIAL_SIGMA, Trial


def test_a_forecast_is_corrected_to_what_the_steps_took():
    correction = Trial(elapsed_s=2.0, step_s=0.015, num_steps=12).correction(0.010)
    assert correction.factor == 1.5
    assert correction.sigma == TRIAL_SIGMA
    assert correction.num_runs == 0


def test_what_was_tried_is_said_beside_what_was_expected():
    said = Trial(elapsed_s=2.0, step_s=0.015, num_steps=12).said(0.010)
    assert "12 steps were tried" in said
    assert "15 ms" in said
    assert "10 ms" in said
