"""Knows the file systems on which SQLite's locks do not hold, and tells the one that a folder is on."""

from pathlib import Path

#: File systems on which locks, or the shared memory of a WAL, do not reach every process that has the file.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
    | {"beegfs", "gfs", "gfs2", "gpfs", "ocfs2", "orangefs", "coda", "ncpfs", "davfs", "vboxsf", "prl_fs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.davfs2"}
)


def file_system_of(folder: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the file system that holds ``folder``, as Linux calls it; None where it does not say."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = folder.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        _, point, file_system, *_ = line.split(" ")
        for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(escape, char)
        # Of two mounts on one point the later one hides the other.
        if real.is_relative_to(point) and (best is None or len(point) >= best[0]):
            best = len(point), file_system
    return None if best is None else best[1]
