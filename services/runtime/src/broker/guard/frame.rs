//! The frames of AMQP 0-9-1: type, channel, size, payload, and one byte at the end.

/// The type of a frame with a method.
pub(super) const METHOD: u8 = 1;
/// The type of a frame with a content header.
pub(super) const HEADER: u8 = 2;
/// The type of a frame with a part of a body.
pub(super) const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
/// A whole frame with a heartbeat.
pub(super) const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];
/// The length of type, channel and size.
pub(super) const FRAME_START: usize = 7;
/// The length of a frame without its payload.
pub(super) const FRAME_OVERHEAD: usize = FRAME_START + 1;
/// Larger than any method that a broker sends.
pub(super) const MAX_METHOD_BYTES: usize = 64 * 1024;
/// How the payload of `basic.deliver` starts: class and method.
pub(super) const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// How the payload of `connection.tune` starts.
const TUNE: [u8; 4] = [0, 10, 0, 30];

/// The start of a frame.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub kind: u8,
    pub channel: [u8; 2],
    /// The length of the payload.
    pub size: usize,
}

impl Frame {
    /// Reads the start of a frame, if all of it is there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [kind, a, b, s1, s2, s3, s4, ..] => Some(Self {
                kind,
                channel: [a, b],
                size: number(&[s1, s2, s3, s4]),
            }),
            _ => None,
        }
    }

    /// The length of the whole frame.
    pub fn whole(self) -> usize {
        self.size.saturating_add(FRAME_OVERHEAD)
    }
}

/// A whole frame with this content header.
pub(super) fn header_frame(channel: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = vec![HEADER];
    frame.extend(channel);
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

/// Reads a number, its highest byte first.
pub(super) fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The size of frames that the broker proposes, if the method is `connection.tune`.
pub(super) fn proposed_frame_max(payload: &[u8]) -> Option<u32> {
    let bytes = payload.strip_prefix(&TUNE)?.get(2..6)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
