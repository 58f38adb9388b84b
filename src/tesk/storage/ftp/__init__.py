"""`ftp://` and `ftps://`: its URLs, its lines, its listings, and the scheme that is made of them."""
