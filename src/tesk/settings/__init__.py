"""One frozen tree of settings, read once at start."""

from tesk.settings.load import Loaded, default_files, load
from tesk.settings.reference import Setting, reference
from tesk.settings.tree import (
    AuthSettings,
    ControllerSettings,
    DefaultsSettings,
    FileRoot,
    HttpCredential,
    LimitsSettings,
    LocalSettings,
    LogSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    ShutdownSettings,
    StorageSettings,
    Token,
    User,
)

__all__ = [
    "AuthSettings",
    "ControllerSettings",
    "DefaultsSettings",
    "FileRoot",
    "HttpCredential",
    "LimitsSettings",
    "Loaded",
    "LocalSettings",
    "LogSettings",
    "RetentionSettings",
    "ServerSettings",
    "Setting",
    "Settings",
    "ShutdownSettings",
    "StorageSettings",
    "Token",
    "User",
    "default_files",
    "load",
    "reference",
]
