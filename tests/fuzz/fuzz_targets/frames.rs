//! The byte stream from a broker, in pieces: the first byte says how large they are. However it is
//! cut, the same bytes come out: no more than came in, and for each content header the marks that the
//! guard may put into it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::broker::guard::{Broken, Guard};

/// The type of a frame with a content header.
const HEADER: u8 = 2;
/// The most bytes by which a content header grows. This happens if the header is too large and declares a body
/// that is too large. Type, channel, size, class, weight and body size (19 bytes) are replaced by a whole frame
/// with two headers, one about the properties and one about the body (79 bytes).
const MARKS_BYTES: usize = 60;

fuzz_target!(|input: &[u8]| {
    let Some((first, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(*first).max(1);
    let whole = guarded(stream, stream.len().max(1));
    assert_eq!(guarded(stream, piece), whole);
    let most = stream.len() + content_headers(stream) * MARKS_BYTES;
    assert!(whole.0.len() <= most, "{} of {most} bytes", whole.0.len());
});

/// How many content headers begin in a stream, the last of which may be cut off.
fn content_headers(mut stream: &[u8]) -> usize {
    let mut count = 0;
    while let [kind, _, _, a, b, c, d, rest @ ..] = stream {
        count += usize::from(*kind == HEADER);
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        // One byte ends the frame.
        stream = rest.get(size + 1..).unwrap_or_default();
    }
    count
}

fn guarded(stream: &[u8], piece: usize) -> (Vec<u8>, Option<Broken>) {
    let mut guard = Guard::new(4096, 1024, None);
    let mut out = Vec::new();
    let mut room = [0; 512];
    for piece in stream.chunks(piece.min(32 * 1024)) {
        guard.spare()[..piece.len()].copy_from_slice(piece);
        let result = guard.filled(piece.len());
        loop {
            let given = guard.give(&mut room);
            if given == 0 {
                break;
            }
            out.extend_from_slice(&room[..given]);
        }
        if let Err(broken) = result {
            return (out, Some(broken));
        }
    }
    (out, None)
}
