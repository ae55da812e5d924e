import os

from events import ConfigurationError
from settings import Settings
from worker.app import create_celery

_MAX_TASKS = 10_000


def main(settings: Settings) -> None:
    """Serve Flower until SIGTERM.

    Raises:
        ConfigurationError: there is no password; Flower shows and controls the workers, so it never starts open.

    """
    flower = settings.flower
    if flower.password is None:
        raise ConfigurationError("Flower needs a password: set THROUGHLINE_FLOWER_PASSWORD")
    # By the environment of this process: the command line would show the password in ps.
    os.environ["FLOWER_BASIC_AUTH"] = f"{flower.user}:{flower.password.get_secret_value()}"
    arguments = ["flower", f"--address={flower.host}", f"--port={flower.port}", f"--max-tasks={_MAX_TASKS}"]
    if flower.url_prefix:
        arguments.append(f"--url-prefix={flower.url_prefix}")
    create_celery(settings).start(arguments)
