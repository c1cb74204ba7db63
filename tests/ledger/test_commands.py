import json
import re
import subprocess
import sys
from pathlib import Path

from traintime.ledger.commands import Commands


def test_commands_wait_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert commands.waiting() == []
    sent = [commands.send("set", {"lr": n}) for n in range(5)]
    assert commands.waiting() == sent
    commands.remove(sent[0])
    assert [command.fields for command in commands.waiting()] == [{"lr": n} for n in range(1, 5)]
    assert not commands.is_waiting(sent[0])
    assert commands.is_waiting(sent[1])


def test_a_command_says_who_gave_it(tmp_path: Path) -> None:
    assert re.fullmatch(r".+@.+, process \d+", Commands(tmp_path).send("pause").by)


def test_what_is_no_command_is_put_out_of_the_way(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    good = commands.send("save")
    for name, text in (("1", "{"), ("2", "[]"), ("3", '{"verb": 1}'), ("4", "")):
        (tmp_path / "commands" / f"{name}.json").write_text(text)
    assert commands.waiting() == [good]
    assert len(list((tmp_path / "commands").glob("*.damaged"))) == 4
    assert commands.waiting() == [good]


def test_a_command_that_is_being_written_is_not_seen(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.send("save")
    (tmp_path / "commands" / ".x.json.77.tmp").write_text("{")
    assert len(commands.waiting()) == 1


def test_shells_that_give_commands_at_once_lose_none(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from traintime.ledger.commands import Commands\n"
        "for n in range(20): Commands(Path(sys.argv[1])).send('set', {'lr': n})\n"
    )
    shells = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]
    assert [shell.wait() for shell in shells] == [0] * 4
    given = [json.dumps(command.fields) for command in Commands(tmp_path).waiting()]
    assert sorted(given) == sorted(4 * [json.dumps({"lr": n}) for n in range(20)])
