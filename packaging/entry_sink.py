"""The entry point of the sink's frozen tree."""

from agent.frozen import prepare

prepare()

from cloud_sink.cli import main  # noqa: E402

main()
