//! Parquet's hybrid of runs and packed bits, in which levels and dictionary numbers are written.

/// A shorter run takes less room packed.
const RUN_MIN: usize = 8;
/// Packed numbers come in groups of this size.
const GROUP: usize = 8;

/// The bits of the largest of so many numbers from zero; at least one, which every reader knows.
pub fn width_of(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).max(1).leading_zeros()
}

/// Appends numbers below `1 << width`.
pub fn encode(numbers: &[u32], width: u32, into: &mut Vec<u8>) {
    let mut packed_from = 0;
    let mut at = 0;
    while at < numbers.len() {
        let number = numbers[at];
        let run = 1 + numbers[at + 1..].iter().take_while(|next| **next == number).count();
        // What was packed before has to be whole groups, so some of the run may have to go with it.
        let filling = (packed_from..at).len().next_multiple_of(GROUP) - (at - packed_from);
        if run >= RUN_MIN + filling {
            pack(&numbers[packed_from..at + filling], width, into);
            append_varint(((run - filling) as u64) << 1, into);
            let bytes = width.div_ceil(8) as usize;
            into.extend_from_slice(&number.to_le_bytes()[..bytes]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&numbers[packed_from..], width, into);
}

/// The last group of all may be short: its end is filled with zeros.
fn pack(numbers: &[u32], width: u32, into: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    append_varint((groups as u64) << 1 | 1, into);
    let end = into.len() + groups * width as usize;
    let (mut bits, mut count) = (0_u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << count;
        count += width;
        while count >= 8 {
            into.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        into.push(bits as u8);
    }
    into.resize(end, 0);
}

fn append_varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Straight from the format's description.
    fn decode(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while !bytes.is_empty() {
            let mut header = 0;
            for place in 0.. {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7F) << (7 * place);
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 1 {
                let packed = (header >> 1) as usize * width as usize;
                for number in 0..(header >> 1) as usize * 8 {
                    let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                    let from = number * width as usize;
                    numbers.push((0..width as usize).map(|place| bit(from + place) << place).sum());
                }
                bytes = &bytes[packed..];
            } else {
                let size = width.div_ceil(8) as usize;
                let mut number = [0; 4];
                number[..size].copy_from_slice(&bytes[..size]);
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(number), (header >> 1) as usize));
                bytes = &bytes[size..];
            }
        }
        assert!(numbers.len() >= count && numbers.len() < count + 8);
        numbers.truncate(count);
        numbers
    }

    #[test]
    fn widths() {
        let widths = [0, 1, 2, 3, 4, 5, 256, 257, 1 << 17].map(width_of);
        assert_eq!(widths, [1, 1, 1, 2, 2, 3, 8, 9, 17]);
    }

    /// Worked out by hand from the format's own example, the numbers 0 to 7 of three bits.
    #[test]
    fn the_formats_example() {
        let mut bytes = Vec::new();
        encode(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut bytes);
        assert_eq!(bytes, [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        let mut bytes = Vec::new();
        encode(&[300; 100], 9, &mut bytes);
        assert_eq!(bytes, [200, 1, 44, 1]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_read_again(
            runs in proptest::collection::vec((0_u32..1000, 1_usize..30), 0..60),
            width in 10_u32..=32,
        ) {
            let numbers: Vec<u32> = runs.iter().flat_map(|(number, run)| std::iter::repeat_n(*number, *run)).collect();
            let mut bytes = Vec::new();
            encode(&numbers, width, &mut bytes);
            proptest::prop_assert_eq!(decode(&bytes, width, numbers.len()), numbers);
        }
    }
}
