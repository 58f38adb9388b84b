"""One frozen tree of settings, read once at start. How it is read, `tesk.settings.load`, is for those who read it: the stager starts without."""

from tesk.settings.callbacks import CallbackKey, CallbacksSettings
from tesk.settings.containers import ContainersSettings
from tesk.settings.kubernetes import KubernetesSettings, ParameterRule, TagNamespace
from tesk.settings.listener import ListenerSettings
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
    "CallbackKey",
    "CallbacksSettings",
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
    "KubernetesSettings",
    "LimitsSettings",
    "ListenerSettings",
    "LocalSettings",
    "LogSettings",
    "MachineSettings",
    "ParameterRule",
    "RetentionSettings",
    "S3Bucket",
    "ServerSettings",
    "Settings",
    "ShutdownSettings",
    "StorageSettings",
    "TagNamespace",
    "Token",
    "TrsHost",
    "User",
]
