"""Object stores: buckets of whole objects under flat names. S3 by our own wire, Google's and Azure's by obstore."""
