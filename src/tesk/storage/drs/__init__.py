"""`drs://`: GA4GH Data Repository Service 1.4, in only. Its ids, its documents, its servers, and the scheme made of them."""
