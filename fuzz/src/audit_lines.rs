//! Audit lines: what the verifier accepts can't be changed without its notice.

use attache::audit::{Broken, Summary, verify};

/// Lines that are accepted are all counted; change any byte, take out the first line of a chain that goes on, or repeat
/// the last one, and they are not accepted any more.
pub fn audit_lines(bytes: &[u8]) -> bool {
    let Ok(summary) = read(bytes) else {
        return false;
    };
    let lines: Vec<_> = lines(bytes).collect();
    let Summary {
        records,
        torn_lines,
        gaps,
        heads,
        missing,
    } = summary;
    // Only the chain that is read first may follow one that is not there; several sinks may each have known another.
    assert!(missing.is_empty() || !heads.is_empty(), "nothing follows");
    assert_eq!(
        records + torn_lines,
        lines.len() as u64,
        "every line counts"
    );
    assert!(gaps <= records, "a gap is a record");
    let numbered: u64 = heads.values().map(|head| head.seq).sum();
    assert_eq!(numbered, records, "every record has a number");
    let Some(last) = lines.last() else {
        return false;
    };
    assert!(
        verify(lines.iter().chain([last])).is_err(),
        "one line twice"
    );
    if heads.len() == 1 && torn_lines == 0 && records > 1 {
        assert!(verify(lines.iter().skip(1)).is_err(), "no first line");
    }
    // One byte of each input, as good as drawn.
    let digest = bytes.iter().fold(0_usize, |digest, byte| {
        digest.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let at = digest % bytes.len();
    let mut changed = bytes.to_vec();
    if let Some(byte) = changed.get_mut(at).filter(|byte| **byte != b'\n') {
        *byte ^= 1;
        assert!(read(&changed).is_err(), "byte {at} was changed");
    }
    true
}

fn read(bytes: &[u8]) -> Result<Summary, Broken> {
    verify(lines(bytes))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // As files are read: the line feed ends a line, it does not begin another.
    let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    ended
        .split(|byte| *byte == b'\n')
        .filter(|_| !bytes.is_empty())
}
