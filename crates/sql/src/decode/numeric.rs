//! PostgreSQL's binary `numeric` as text.

use std::fmt::Write;

/// The layout is `ndigits, weight, sign, dscale` (each of 16 bits) and then digits of base 10,000
/// (PostgreSQL: `numeric_send` in `utils/adt/numeric.c`). `None` if the bytes are not that.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let count = usize::from(words.next()?);
    let weight = i32::from(words.next()?.cast_signed());
    let sign = words.next()?;
    let scale = usize::from(words.next()?);
    let digits: Vec<u16> = words.collect();
    if digits.len() != count {
        return None;
    }
    let digit = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let highest = weight.max(0);
    write!(text, "{}", digit(highest)).ok()?;
    for place in (0..highest).rev() {
        write!(text, "{:04}", digit(place)).ok()?;
    }
    if scale > 0 {
        let places = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=places).map(|place| format!("{:04}", digit(-place))).collect();
        write!(text, ".{}", &fraction[..scale]).ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[u16], expected: Option<&str>) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(text(&bytes).as_deref(), expected);
    }

    #[test]
    fn numbers_keep_every_digit() {
        check(&[0, 0, 0, 0], Some("0"));
        check(&[1, 0, 0, 0, 42], Some("42"));
        check(&[2, 1, 0x4000, 0, 12, 34], Some("-120034"));
        check(&[1, 2, 0, 0, 1], Some("100000000"));
        check(&[2, 0, 0, 3, 3, 1410], Some("3.141"));
        check(&[1, 0xFFFF, 0, 2, 500], Some("0.05"));
        check(&[1, 0xFFFE, 0, 8, 1], Some("0.00000001"));
        check(&[0, 0, 0xC000, 0], Some("NaN"));
        check(&[2, 0, 0, 0, 1], None);
    }
}
