"""What schemathesis does not know by itself: how the bodies of uploads are sent."""

import schemathesis


@schemathesis.serializer("application/offset+octet-stream")
def octets(_ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
