"""HTTP as the server and the listener serve it: who may connect, within which bounds, and whom either may call."""
