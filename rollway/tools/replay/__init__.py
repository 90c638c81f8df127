"""Recording what tools answered, and answering from such a record without running anything."""

from rollway.tools.replay.recorder import ToolRecorder
from rollway.tools.replay.records import (
    RecordedCall,
    Recording,
    content_digest,
    decode_recording,
    encode_recording,
    sandbox_file,
)
from rollway.tools.replay.replayer import ToolReplayer
from rollway.tools.replay.store import Recordings, RecordingWriter, read_recordings

__all__ = [
    "RecordedCall",
    "Recording",
    "RecordingWriter",
    "Recordings",
    "ToolRecorder",
    "ToolReplayer",
    "content_digest",
    "decode_recording",
    "encode_recording",
    "read_recordings",
    "sandbox_file",
]
