"""`make validate`: sam's and cfn-lint's rules, the serverless ones among them."""

from sam.conftest import Make


def test_the_template_has_no_findings(make: Make) -> None:
    done = make("validate")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout
