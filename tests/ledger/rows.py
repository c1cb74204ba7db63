"""A row of the ledger, for tests and for the processes that they start."""

from traintime.ledger.database import LedgerRow

ROW = LedgerRow(
    name="run",
    folder="/runs/run",
    began="2025-11-20T08:00:00",
    status="running",
    data="mnist",
    model="lenet",
    target="accuracy:0.99",
    machine="AMD EPYC x2",
    evidence="measured on this machine",
    forecast_s=21.0,
    forecast_low_s=17.0,
    forecast_high_s=26.0,
    forecast_step_s=0.02,
)
