"""Makes a cluster's client that asks no server before its first command, as the clients of single servers do."""

from typing import Any


def late_cluster(kind: Any, options: dict[str, Any]) -> Any:
    """Return a client of ``kind``, redis-py's RedisCluster.

    That asks for the cluster's nodes when it is made, and raises if there is none. So an application could not start
    while its cluster is away.
    """

    class LateCluster(kind):  # type: ignore[misc]
        """A cluster's client that is made when it is first asked."""

        def __init__(self) -> None:
            self._client: Any = None

        def _opened(self) -> Any:
            if self._client is None:  # Two threads may both make one; the later stays.
                self._client = kind(**options)
            return self._client

        def execute_command(self, *command: Any, **how: Any) -> Any:
            return self._opened().execute_command(*command, **how)

        def keyslot(self, key: Any) -> int:
            slot: int = self._opened().keyslot(key)
            return slot

        def get_nodes(self) -> list[Any]:
            return [] if self._client is None else list(self._client.get_nodes())

        def close(self) -> None:
            if self._client is not None:
                self._client.close()

        def __del__(self) -> None:
            """Leave it to the client that was made."""

    return LateCluster()
