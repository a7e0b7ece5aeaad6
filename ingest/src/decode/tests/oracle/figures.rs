//! Figures out of text: decimals by moving the point, times by civil calendar.

use rating::catalog::ExcessDigits;

use super::Ruled;
use crate::rejected::RejectReason;

/// A decimal as billionths, by moving its point as text.
pub fn billionths(text: &str, excess: ExcessDigits) -> Ruled<i128> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if ![whole, fraction, exponent_digits].into_iter().all(is_digits) {
        return Err(RejectReason::ValueNotANumber);
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let magnitude: i128 = exponent_digits.parse().unwrap_or(i128::from(i64::MAX));
    let exponent = if exponent.starts_with('-') { -magnitude } else { magnitude };
    // How many significant digits stand before the point, counted in billionths.
    let point = (whole.len() as i128) - ((digits.len() - significant.len()) as i128) + exponent + 9;
    if point > 38 {
        return Err(RejectReason::ValueOutOfRange);
    }
    let padded = format!("{significant:0<38}");
    let (kept, cut) = padded.split_at(usize::try_from(point).unwrap_or(0));
    let mut integer: i128 = if kept.is_empty() { 0 } else { kept.parse().expect("at most 38 digits") };
    if cut.contains(|c| c != '0') {
        if excess == ExcessDigits::Reject {
            return Err(RejectReason::ValueTooPrecise);
        }
        integer += i128::from(point >= 0 && cut.as_bytes()[0] >= b'5');
    }
    if integer >= 10i128.pow(38) {
        return Err(RejectReason::ValueOutOfRange);
    }
    Ok(if text.starts_with('-') { -integer } else { integer })
}

/// An RFC 3339 time in microseconds since 1970, digits past them cut off.
pub fn rfc3339(text: &str) -> Option<i64> {
    let shaped = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                b'T' => b"Tt ".contains(&byte),
                b'+' => b"+-".contains(&byte),
                other => byte == other,
            })
    };
    let (civil, rest) = (text.get(..19)?, text.get(19..)?);
    if !shaped(civil, "0000-00-00T00:00:00") {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    if !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ if shaped(zone, "+00:00") => {
            let (hours, minutes): (i64, i64) = (zone[1..3].parse().ok()?, zone[4..].parse().ok()?);
            let offset = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if zone.starts_with('-') { -offset } else { offset }
        }
        _ => return None,
    };
    let civil: jiff::civil::DateTime = civil.replace(['t', ' '], "T").parse().ok()?;
    let since_epoch = civil.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
    let micros: i64 = format!("{fraction:0<6}")[..6].parse().ok()?;
    Some((since_epoch.as_secs() - offset_minutes * 60) * 1_000_000 + micros)
}
