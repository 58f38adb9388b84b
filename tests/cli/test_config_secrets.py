"""Whatever is marked as a secret, `tesk config` prints none of it."""

import json

from tesk.cli.config import HIDDEN
from tesk.settings.reference import reference

SINGLE = [setting for setting in reference() if setting.secret and not setting.columns]


def test_secrets_that_are_no_tables_are_hidden_too(tesk):
    assert SINGLE
    done = tesk("config", "-o", "json", **{setting.variable: "http://u:geheim@x" for setting in SINGLE})
    assert "geheim" not in done.stdout
    values = json.loads(done.stdout)
    assert {values[setting.key]["value"] for setting in SINGLE} == {HIDDEN}
