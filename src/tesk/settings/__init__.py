"""One frozen tree of settings, read once at start. How it is read, `tesk.settings.load`, is for those who read it: the stager starts without."""

from tesk.settings.containers import ContainersSettings
from tesk.settings.machine import MachineSettings
from tesk.settings.storage import (
    AzContainer,
    DrsHost,
    DrsPrefix,
    FileRoot,
    FtpCredential,
    GsBucket,
    HttpCredential,
    S3Bucket,
    StorageSettings,
    TrsHost,
)
from tesk.settings.tree import (
    AuthSettings,
    ControllerSettings,
    DefaultsSettings,
    InfoSettings,
    LimitsSettings,
    LocalSettings,
    LogSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    ShutdownSettings,
    Token,
    User,
)

__all__ = [
    "AuthSettings",
    "AzContainer",
    "ContainersSettings",
    "ControllerSettings",
    "DefaultsSettings",
    "DrsHost",
    "DrsPrefix",
    "FileRoot",
    "FtpCredential",
    "GsBucket",
    "HttpCredential",
    "InfoSettings",
    "LimitsSettings",
    "LocalSettings",
    "LogSettings",
    "MachineSettings",
    "RetentionSettings",
    "S3Bucket",
    "ServerSettings",
    "Settings",
    "ShutdownSettings",
    "StorageSettings",
    "Token",
    "TrsHost",
    "User",
]
