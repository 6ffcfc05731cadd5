"""`python -m cloud_sink`."""

from cloud_sink.cli import main

main()
