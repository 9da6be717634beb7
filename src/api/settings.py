"""Settings by environment: the only module that reads it."""

import os
import re
from pathlib import Path
from typing import Annotated

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.database import SCHEMA_NAME
from ledger.errors import LedgerError
from ledger.master_key import FILE_NAME, MasterKey, load_or_create, parse_master_key
from ledger.workflow import DEFAULT, Workflow, read_workflow

ENVIRONMENT_PREFIX = "LEDGER_"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class SettingsError(LedgerError):
    """A setting is not valid"""


def _schema_name(name: str) -> str:
    if not SCHEMA_NAME.fullmatch(name):
        raise ValueError("must be 1 to 48 of a-z, 0-9 and _, not starting with a digit")
    return name


def _database_url(url: str) -> str:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What it complains of is not repeated: there may be a password in it.
        raise ValueError(
            "must be a PostgreSQL connection string, as postgresql://user@host/database"
        ) from None
    return url


def _admin_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{16,}", key.get_secret_value()):
        raise ValueError("must be at least 16 visible ASCII characters, without spaces")
    return key


def _master_key(key: SecretStr) -> SecretStr:
    parse_master_key(key.get_secret_value())
    return key


def _log_origin(origin: str) -> str:
    if not re.fullmatch(r"[\x21-\x2a\x2c-\x7e]{1,200}", origin):
        raise ValueError("must be 1 to 200 visible ASCII characters, without spaces and '+'")
    return origin


class Settings(BaseSettings):
    """What can be set; each is read from LEDGER_ and its name in capitals. Empty is not set."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
    )

    database_url: Annotated[str, AfterValidator(_database_url)] | None = None
    """PostgreSQL to use, 15 or newer; without it the embedded one in `data_dir`."""
    data_dir: Path = Path(".ledger")
    schema_name: Annotated[str, AfterValidator(_schema_name)] = Field(
        "ledger", validation_alias=f"{ENVIRONMENT_PREFIX}SCHEMA"
    )
    workflow: Path | None = None
    """A workflow file; without it the default workflow."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    forwarded_allow_ips: str = Field("127.0.0.1", validation_alias="FORWARDED_ALLOW_IPS")
    """Proxies that are believed when they say whether the caller used TLS; uvicorn's own name."""
    admin_key: Annotated[SecretStr, AfterValidator(_admin_key)] | None = None
    """A secret accepted as an admin key."""
    master_key: Annotated[SecretStr, AfterValidator(_master_key)] | None = None
    """32 bytes in base64, that secrets in the database are sealed under; without it those of the
    file `master.key` in `data_dir`, made at the first start."""
    log_origin: Annotated[str, AfterValidator(_log_origin)] | None = None
    """Name of the transparency log in its checkpoints and of its keys; never to be changed."""
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_jwks: str | None = None
    """Keys of the issuer: a URL or a file; without it the issuer's discovery document."""
    oidc_role_claim: str = "booking_ledger_role"
    idempotency_days: int = Field(30, ge=0)
    """How long idempotency keys are kept; 0 keeps them for ever."""

    def read_workflow(self) -> Workflow:
        return DEFAULT if self.workflow is None else read_workflow(self.workflow)

    def find_master_key(self) -> MasterKey | None:
        """The key that is set, else that of the file; None where there is neither.

        Raises MasterKeyError.
        """
        if self.master_key is None and not (self.data_dir / FILE_NAME).exists():
            return None
        return self.load_master_key()

    def load_master_key(self) -> MasterKey:
        """The key that is set, else that of the file, which is made where it is missing.

        Raises MasterKeyError.
        """
        given = None if self.master_key is None else self.master_key.get_secret_value()
        return load_or_create(self.data_dir, None if given is None else parse_master_key(given))

    @property
    def origin(self) -> str:
        return self.log_origin or f"booking-ledger.local/{self.schema_name}"


def read_settings(**given: object) -> Settings:
    """Settings from the environment, with what the command line gives in their place.

    Raises SettingsError naming the variable and what it may be.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        # Not from the error, which repeats the value: it may be a secret.
        raise SettingsError(f"{_variable(str(first['loc'][0]))}: {message}") from None


def _variable(name: str) -> str:
    """The variable of a setting, whose name pydantic gives, or its alias where it has one."""
    field = Settings.model_fields.get(name)
    alias = name if field is None else field.validation_alias
    return alias if isinstance(alias, str) else f"{ENVIRONMENT_PREFIX}{name.upper()}"


def process_environment() -> dict[str, str]:
    """The environment of this process, for processes that it starts."""
    return dict(os.environ)
