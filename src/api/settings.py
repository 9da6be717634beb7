"""Settings by environment: the only module that reads it."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.database import SCHEMA_NAME
from ledger.errors import LedgerError
from ledger.workflow import DEFAULT, Workflow, read_workflow

ENVIRONMENT_PREFIX = "LEDGER_"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class SettingsError(LedgerError):
    """A setting is not valid"""


def _schema_name(name: str) -> str:
    if not SCHEMA_NAME.fullmatch(name):
        raise ValueError("must be 1 to 48 of a-z, 0-9 and _, not starting with a digit")
    return name


class Settings(BaseSettings):
    """What can be set; each is read from LEDGER_ and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", populate_by_name=True
    )

    database_url: str | None = None
    """PostgreSQL to use, 15 or newer; without it the embedded one in `data_dir`."""
    data_dir: Path = Path(".ledger")
    schema_name: Annotated[str, AfterValidator(_schema_name)] = Field(
        "ledger", validation_alias=f"{ENVIRONMENT_PREFIX}SCHEMA"
    )
    workflow: Path | None = None
    """A workflow file; without it the default workflow."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    admin_key: SecretStr | None = Field(None, min_length=16)
    """A secret accepted as an admin key."""
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_jwks: str | None = None
    """Keys of the issuer: a URL or a file; without it the issuer's discovery document."""
    oidc_role_claim: str = "booking_ledger_role"
    idempotency_days: int = Field(30, ge=0)
    """How long idempotency keys are kept; 0 keeps them for ever."""

    def read_workflow(self) -> Workflow:
        return DEFAULT if self.workflow is None else read_workflow(self.workflow)


def read_settings(**given: object) -> Settings:
    """Settings from the environment, with what the command line gives in their place.

    Raises SettingsError naming the variable and what it may be.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper().removeprefix(ENVIRONMENT_PREFIX)
        raise SettingsError(f"{ENVIRONMENT_PREFIX}{name}: {first['msg']}") from error


def process_environment() -> dict[str, str]:
    """The environment of this process, for processes that it starts."""
    return dict(os.environ)
