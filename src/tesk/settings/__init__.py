"""One frozen tree of settings, read once at start."""

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
    "LocalSettings",
    "LogSettings",
    "RetentionSettings",
    "ServerSettings",
    "Settings",
    "ShutdownSettings",
    "StorageSettings",
    "Token",
    "User",
]
