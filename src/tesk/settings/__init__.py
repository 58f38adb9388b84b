"""One frozen tree of settings, read once at start. How it is read, `tesk.settings.load`, is for those who read it: the stager starts without."""

from tesk.settings.tree import (
    AuthSettings,
    ControllerSettings,
    DefaultsSettings,
    FileRoot,
    HttpCredential,
    InfoSettings,
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
    "InfoSettings",
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
