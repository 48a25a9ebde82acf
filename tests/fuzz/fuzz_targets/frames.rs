//! The byte stream from a broker, in pieces: the first byte says how large they are. However it is
//! cut, the same bytes come out, no more than came in and a marker for each frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::broker::guard::{Broken, Guard};

fuzz_target!(|input: &[u8]| {
    let Some((first, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(*first).max(1);
    assert_eq!(guarded(stream, piece), guarded(stream, stream.len().max(1)));
});

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
