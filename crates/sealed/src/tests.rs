use std::io::{Cursor, Read, Seek, SeekFrom};

use super::*;

const CONTEXT: &str = "original of 42";

/// Numbers that look random and are the same in every run (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn plain(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    (0..len).map(|_| numbers.below(256) as u8).collect()
}

/// `plain` in records of these sizes.
fn records(key: &SealKey, plain: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut offset = 0;
    let seal_next = |&size: &usize| {
        let record = seal(key, CONTEXT, offset as u64, &plain[offset..offset + size]).unwrap();
        offset += size;
        record
    };
    sizes.iter().map(seal_next).collect()
}

fn sealed(key: &SealKey, len: u64) -> Sealed {
    Sealed { key: key.clone(), context: CONTEXT.to_owned(), len }
}

/// Reads all of it, or says why not.
fn read(file: &[u8], of: &Sealed) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(Cursor::new(file), of).map_err(|e| e.to_string())?;
    let mut all = Vec::new();
    reader.read_to_end(&mut all).map_err(|e| e.to_string())?;
    Ok(all)
}

fn assert_changed(file: &[u8], of: &Sealed, what: &str) {
    let why = read(file, of).expect_err(what);
    assert!(why.starts_with("the sealed original was changed: "), "{what}: {why}");
}

#[test]
fn what_was_sealed_is_read_from_anywhere() {
    let sizes = [1, 4096, 17, MAX_RECORD, 1, 1, 65_537, 300_001];
    let plain = plain(sizes.iter().sum());
    let key = SealKey::random();
    let file = records(&key, &plain, &sizes).concat();
    let of = sealed(&key, plain.len() as u64);
    assert!(read(&file, &of).unwrap() == plain);

    let mut reader = Reader::new(Cursor::new(&file), &of).unwrap();
    let mut expected = Cursor::new(&plain);
    let mut numbers = Numbers(7);
    for _ in 0..2000 {
        let (at, by) = (numbers.below(plain.len() + 10), numbers.below(5000));
        let to = match numbers.below(3) {
            0 => SeekFrom::Start(at as u64),
            1 => SeekFrom::End(-(at.min(plain.len()) as i64)),
            _ => SeekFrom::Current(by as i64 - 2500),
        };
        let places = (reader.seek(to), expected.seek(to));
        assert_eq!(places.0.ok(), places.1.ok(), "{to:?}");
        let (mut got, mut want) = (Vec::new(), Vec::new());
        reader.by_ref().take(by as u64).read_to_end(&mut got).unwrap();
        expected.by_ref().take(by as u64).read_to_end(&mut want).unwrap();
        assert!(got == want, "{by} bytes from {to:?}");
    }
}

#[test]
fn an_empty_original_is_empty() {
    assert!(read(&[], &sealed(&SealKey::random(), 0)).unwrap().is_empty());
}

#[test]
fn a_bit_that_flipped_anywhere_is_found() {
    let (plain, key) = (plain(90), SealKey::random());
    let file = records(&key, &plain, &[40, 50]).concat();
    let of = sealed(&key, 90);
    for bit in 0..8 * file.len() {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_changed(&changed, &of, &format!("bit {bit}"));
    }
}

#[test]
fn records_in_another_order_or_number_are_found() {
    let (plain, key) = (plain(90), SealKey::random());
    let r = records(&key, &plain, &[30, 30, 30]);
    let of = sealed(&key, 90);
    for order in [
        &[1, 0, 2][..],
        &[0, 2, 1],
        &[0, 0, 2],
        &[0, 1],
        &[0, 2],
        &[1, 2],
        &[0, 1, 2, 2],
        &[0, 0, 1, 2],
        &[],
    ] {
        let file = order.iter().map(|&i: &usize| r[i].as_slice()).collect::<Vec<_>>().concat();
        assert_changed(&file, &of, &format!("{order:?}"));
    }
    // Sound, but of another length than it should have.
    for len in [0, 89, 91, u64::MAX] {
        assert_changed(&r.concat(), &sealed(&key, len), &format!("{len} bytes"));
    }
    assert_changed(&r[..2].concat(), &of, "the end is missing");
    assert!(read(&r[..2].concat(), &sealed(&key, 60)).is_ok());
}

#[test]
fn a_file_cut_off_anywhere_is_found() {
    let (plain, key) = (plain(90), SealKey::random());
    let file = records(&key, &plain, &[40, 50]).concat();
    for end in 0..file.len() {
        assert_changed(&file[..end], &sealed(&key, 90), &format!("{end} bytes"));
    }
    assert_changed(&[&*file, &[0]].concat(), &sealed(&key, 90), "a byte more");
}

#[test]
fn only_its_own_key_and_context_open_it() {
    let (plain, key) = (plain(90), SealKey::random());
    let file = records(&key, &plain, &[90]).concat();
    assert_changed(&file, &sealed(&SealKey::random(), 90), "another key");
    for context in ["original of 4", "original of 43", ""] {
        let of = Sealed { context: context.to_owned(), ..sealed(&key, 90) };
        assert_changed(&file, &of, context);
    }
    let again = SealKey::from_bytes(&key.to_bytes());
    assert!(read(&file, &sealed(&again, 90)).is_ok());
}

#[test]
fn context_and_offset_cannot_be_shifted_into_each_other() {
    let offset = u64::from_le_bytes(*b"12345678");
    assert_ne!(associated("a", offset), associated("a12345678", 0));
    assert_ne!(associated("ab", 1), associated("a", 1));
}

#[test]
fn after_an_error_nothing_stale_is_read() {
    let (plain, key) = (plain(90), SealKey::random());
    let mut file = records(&key, &plain, &[40, 50]).concat();
    *file.last_mut().unwrap() ^= 1;
    let mut reader = Reader::new(Cursor::new(&file), &sealed(&key, 90)).unwrap();
    let mut bytes = [0; 40];
    reader.read_exact(&mut bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(reader.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    reader.seek(SeekFrom::Start(0)).unwrap();
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, plain[..40]);
}

#[test]
fn records_too_long_or_empty_are_not_made() {
    let key = SealKey::random();
    assert!(matches!(seal(&key, CONTEXT, 0, &[]), Err(Error::RecordSize(0))));
    let long = vec![0; MAX_RECORD + 1];
    assert!(matches!(seal(&key, CONTEXT, 0, &long), Err(Error::RecordSize(_))));
    assert!(seal(&key, CONTEXT, 0, &long[1..]).is_ok());
}

#[test]
fn lengths_that_no_record_has_are_refused_before_anything_is_allocated() {
    for length in [0, TAG as u32, (MAX_RECORD + TAG + 1) as u32, u32::MAX] {
        let mut file = length.to_le_bytes().to_vec();
        file.resize(64, 0);
        assert_changed(&file, &sealed(&SealKey::random(), 20), &format!("{length}"));
    }
}

#[test]
fn a_key_goes_through_json_and_is_not_printed() {
    let of = sealed(&SealKey::from_bytes(&[0xa5; 32]), 90);
    let json = serde_json::to_string(&of).unwrap();
    assert!(json.contains(&"a5".repeat(32)), "{json}");
    let back: Sealed = serde_json::from_str(&json).unwrap();
    assert_eq!(*back.key.to_bytes(), [0xa5; 32]);
    assert_eq!(format!("{of:?}"), "90 bytes, sealed as \"original of 42\"");

    for text in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &"é".repeat(32)] {
        let json = format!("{text:?}");
        let error = serde_json::from_str::<SealKey>(&json).err().unwrap().to_string();
        assert!(error.starts_with("a key is not 64 hexadecimal digits"), "{error}");
    }
}
