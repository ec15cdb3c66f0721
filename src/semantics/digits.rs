//! Numbers as text, without the formatting machinery.

use http::HeaderValue;

/// The decimal digits of a number.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    room: [u8; 20],
    start: usize,
}

impl Digits {
    /// Of `number`.
    pub fn of(mut number: u64) -> Self {
        let mut digits = Self { room: [0; 20], start: 20 };
        for digit in digits.room.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            digits.start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        digits
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.room.get(self.start..).unwrap_or_default()
    }

    /// As a header field's value, in one allocation of its own size.
    pub fn to_value(&self) -> HeaderValue {
        let made = HeaderValue::from_bytes(self.as_bytes());
        made.unwrap_or(HeaderValue::from_static("0")) // digits are always a value
    }
}

/// `number` as a header field's value.
pub fn value(number: u64) -> HeaderValue {
    Digits::of(number).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, want) in [(0, "0"), (9, "9"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(Digits::of(number).as_bytes(), want.as_bytes());
            assert_eq!(value(number), want);
        }
    }
}
