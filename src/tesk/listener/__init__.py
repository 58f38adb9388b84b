"""Hear of the moves of tasks on any number of TES servers, and tell those who wait: a service, or inside another program."""

from tesk.listener.heard import Unheard
from tesk.listener.listener import Listener
from tesk.listener.remote import Remote, Subscribed

__all__ = ["Listener", "Remote", "Subscribed", "Unheard"]
