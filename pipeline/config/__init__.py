"""Settings: one TOML file, every key also as an environment variable; a wrong one stops the start by name.

Nothing here reads a secret: settings name the files or variables that hold them, `pipeline/secrets.py` reads those.
"""

from pipeline.config.console import ConsoleSettings
from pipeline.config.kafka import KafkaSettings
from pipeline.config.loading import ENV_CONFIG, load
from pipeline.config.numbers import Login, NumberSettings, ProfileName
from pipeline.config.settings import (
    CATEGORIES,
    ENV_PREFIX,
    Category,
    HttpSettings,
    IngressSettings,
    OnUnknown,
    OptOutPayload,
    PolicySettings,
    SenderSettings,
    Settings,
    StorageSettings,
)

__all__ = [
    "CATEGORIES",
    "ENV_CONFIG",
    "ENV_PREFIX",
    "Category",
    "ConsoleSettings",
    "HttpSettings",
    "IngressSettings",
    "KafkaSettings",
    "Login",
    "NumberSettings",
    "OnUnknown",
    "OptOutPayload",
    "PolicySettings",
    "ProfileName",
    "SenderSettings",
    "Settings",
    "StorageSettings",
    "load",
]
