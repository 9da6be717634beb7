"""Settings: every variable, the command line before them, and errors that name the variable."""

import base64
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from api.cli import main
from api.settings import Settings, SettingsError, read_settings
from ledger.errors import WorkflowError
from ledger.workflow import DEFAULT

MASTER_KEY = base64.b64encode(b"m" * 32).decode()
VARIABLES = {
    "LEDGER_DATABASE_URL": ("database_url", "postgresql://u@h/d", "postgresql://u@h/d"),
    "LEDGER_DATA_DIR": ("data_dir", "/var/lib/ledger", Path("/var/lib/ledger")),
    "LEDGER_SCHEMA": ("schema_name", "hotel_1", "hotel_1"),
    "LEDGER_WORKFLOW": ("workflow", "hotel.toml", Path("hotel.toml")),
    "LEDGER_HOST": ("host", "0.0.0.0", "0.0.0.0"),
    "LEDGER_PORT": ("port", "80", 80),
    "FORWARDED_ALLOW_IPS": ("forwarded_allow_ips", "10.0.0.0/8", "10.0.0.0/8"),
    "LEDGER_ADMIN_KEY": ("admin_key", "0123456789abcdef", SecretStr("0123456789abcdef")),
    "LEDGER_MASTER_KEY": ("master_key", MASTER_KEY, SecretStr(MASTER_KEY)),
    "LEDGER_LOG_ORIGIN": ("log_origin", "log.example/hotel", "log.example/hotel"),
    "LEDGER_OIDC_ISSUER": ("oidc_issuer", "https://id.example", "https://id.example"),
    "LEDGER_OIDC_AUDIENCE": ("oidc_audience", "ledger", "ledger"),
    "LEDGER_OIDC_JWKS": ("oidc_jwks", "/etc/jwks.json", "/etc/jwks.json"),
    "LEDGER_OIDC_ROLE_CLAIM": ("oidc_role_claim", "role", "role"),
    "LEDGER_IDEMPOTENCY_DAYS": ("idempotency_days", "0", 0),
}


def test_every_setting_has_its_variable_in_the_table_above() -> None:
    assert {name for name, _, _ in VARIABLES.values()} == set(Settings.model_fields)


def test_without_any_the_defaults_hold() -> None:
    settings = read_settings()

    assert settings.database_url is None
    assert settings.data_dir == Path(".ledger")
    assert settings.schema_name == "ledger"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.admin_key is None
    assert settings.oidc_issuer is None
    assert settings.idempotency_days == 30
    assert settings.read_workflow() is DEFAULT


@pytest.mark.parametrize("variable", VARIABLES)
class TestEachVariable:
    def test_is_read(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        name, text, value = VARIABLES[variable]
        monkeypatch.setenv(variable, text)

        assert getattr(read_settings(), name) == value

    def test_empty_is_not_set(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """As compose files pass on a variable that nobody has set."""
        monkeypatch.delenv("LEDGER_MASTER_KEY")
        monkeypatch.setenv(variable, "")

        assert read_settings() == Settings.model_construct()

    def test_gives_way_to_the_command_line(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        name, text, value = VARIABLES[variable]
        monkeypatch.setenv(variable, "1234567890123456")

        assert getattr(read_settings(**{name: text}), name) == value

    def test_holds_where_the_command_line_says_nothing(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        name, text, value = VARIABLES[variable]
        monkeypatch.setenv(variable, text)

        assert getattr(read_settings(**{name: None}), name) == value


WRONG = [
    ("LEDGER_PORT", "http", "valid integer"),
    ("LEDGER_PORT", "70000", "65535"),
    ("LEDGER_PORT", "-1", "0"),
    ("LEDGER_SCHEMA", "Public", "a-z, 0-9 and _"),
    ("LEDGER_SCHEMA", "x" * 49, "1 to 48"),
    ("LEDGER_SCHEMA", "1st", "not starting with a digit"),
    ("LEDGER_SCHEMA", 'a"; drop schema public', "a-z"),
    ("LEDGER_ADMIN_KEY", "s3cr3t-k3y", "at least 16"),
    ("LEDGER_ADMIN_KEY", "s3cr3t-k3y-with-ü", "ASCII"),
    ("LEDGER_ADMIN_KEY", "s3cr3t k3y with spaces", "without spaces"),
    ("LEDGER_MASTER_KEY", "s3cr3t-k3y", "32 bytes in base64"),
    ("LEDGER_LOG_ORIGIN", "a log", "without spaces"),
    ("LEDGER_LOG_ORIGIN", "a+log", "'+'"),
    ("LEDGER_DATABASE_URL", "mysql://u:s3cr3t-k3y@h/d", "PostgreSQL connection string"),
    ("LEDGER_IDEMPOTENCY_DAYS", "-1", "0"),
    ("LEDGER_IDEMPOTENCY_DAYS", "a month", "valid integer"),
]


@pytest.mark.parametrize(("variable", "text", "complaint"), WRONG)
def test_what_is_not_valid_is_refused_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as refused:
        read_settings()

    assert str(refused.value).startswith(f"{variable}: ")
    assert complaint in str(refused.value)
    assert "Value error" not in str(refused.value)


@pytest.mark.parametrize(
    "variable", ["LEDGER_ADMIN_KEY", "LEDGER_MASTER_KEY", "LEDGER_DATABASE_URL"]
)
def test_secrets_are_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "x://s3cr3t é")
    with pytest.raises(SettingsError) as refused:
        read_settings()

    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__suppress_context__
    monkeypatch.delenv(variable)
    assert "s3cr3t" not in repr(read_settings(database_url="", admin_key="s3cr3t-s3cr3t-s3cr3t"))


def test_what_the_command_line_gives_wrong_is_refused_by_the_same_name() -> None:
    with pytest.raises(SettingsError, match=r"^LEDGER_SCHEMA: "):
        read_settings(schema_name="Public")
    with pytest.raises(SettingsError, match=r"^LEDGER_PORT: "):
        read_settings(port=70_000)


def test_commands_say_it_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, text, complaint in WRONG:
        with monkeypatch.context() as patched:
            patched.setenv(variable, text)
            run = CliRunner().invoke(main, ["migrate"])

        assert run.exit_code not in (0, None), variable
        assert run.output.startswith(f"Error: {variable}: "), run.output
        assert complaint in run.output
        assert run.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_workflow_is_read_and_its_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\nstatuses = ["a", "b"]\ninitial = "a"\n')
    assert read_settings(workflow=path).read_workflow().statuses == ("a", "b")

    path.write_text("statuses = [")
    with pytest.raises(WorkflowError, match=r"mine\.toml: is not TOML"):
        read_settings(workflow=path).read_workflow()
    with pytest.raises(WorkflowError, match=r"none\.toml: cannot be read"):
        read_settings(workflow=tmp_path / "none.toml").read_workflow()
