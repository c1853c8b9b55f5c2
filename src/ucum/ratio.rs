//! Exact factors between units.

/// `numerator / denominator * 10^exponent * pi^pi`.
///
/// The fraction is in lowest terms; still a half may also be five times a tenth, so two that look
/// different may be the same.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    numerator: u128,
    denominator: u128,
    exponent: i32,
    pi: i32,
}

/// Largest power of ten or of pi that a factor may have.
const MAX_EXPONENT: i32 = 400;

impl Ratio {
    /// One.
    pub const ONE: Self = Self { numerator: 1, denominator: 1, exponent: 0, pi: 0 };

    /// Pi.
    pub(super) const PI: Self = Self { numerator: 1, denominator: 1, exponent: 0, pi: 1 };

    /// Reads `980665e-5`, `12.5` or `7`; `None` when it is no positive number or has too many
    /// digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (digits, exponent) = match text.split_once('e') {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut numerator: u128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| u128::from(byte - b'0'))?;
            numerator = numerator.checked_mul(10)?.checked_add(digit)?;
        }
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        if numerator == 0 {
            return None;
        }
        Self { numerator, denominator: 1, exponent, pi: 0 }.checked()
    }

    /// What stands above the line, without the powers of ten.
    pub fn numerator(self) -> u128 {
        self.numerator
    }

    /// What stands below the line, without the powers of ten.
    pub fn denominator(self) -> u128 {
        self.denominator
    }

    /// The power of ten.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// The power of pi.
    pub fn pi(self) -> i32 {
        self.pi
    }

    /// The factor as a binary fraction, for what needs no exactness.
    pub fn approximate(self) -> f64 {
        let fraction = self.numerator as f64 / self.denominator as f64;
        fraction * 10_f64.powi(self.exponent) * std::f64::consts::PI.powi(self.pi)
    }

    /// The product; `None` when it has too many digits.
    pub(super) fn times(self, other: Self) -> Option<Self> {
        let (a, d) = reduced(self.numerator, other.denominator);
        let (b, c) = reduced(other.numerator, self.denominator);
        Self {
            numerator: a.checked_mul(b)?,
            denominator: c.checked_mul(d)?,
            exponent: self.exponent.checked_add(other.exponent)?,
            pi: self.pi.checked_add(other.pi)?,
        }
        .checked()
    }

    /// One divided by it.
    #[must_use]
    pub(super) fn inverted(self) -> Self {
        Self {
            numerator: self.denominator,
            denominator: self.numerator,
            exponent: -self.exponent,
            pi: -self.pi,
        }
    }

    /// The power; `None` when it has too many digits.
    pub(super) fn power(self, exponent: i32) -> Option<Self> {
        let base = if exponent < 0 { self.inverted() } else { self };
        let times = exponent.unsigned_abs();
        Self {
            numerator: base.numerator.checked_pow(times)?,
            denominator: base.denominator.checked_pow(times)?,
            exponent: self.exponent.checked_mul(exponent)?,
            pi: self.pi.checked_mul(exponent)?,
        }
        .checked()
    }

    /// In lowest terms, with no zeros at the ends; `None` beyond the largest exponents.
    fn checked(mut self) -> Option<Self> {
        (self.numerator, self.denominator) = reduced(self.numerator, self.denominator);
        while self.numerator.is_multiple_of(10) {
            self.numerator /= 10;
            self.exponent += 1;
        }
        while self.denominator.is_multiple_of(10) {
            self.denominator /= 10;
            self.exponent -= 1;
        }
        let fits = self.exponent.abs() <= MAX_EXPONENT && self.pi.abs() <= MAX_EXPONENT;
        fits.then_some(self)
    }
}

/// Both divided by what divides both; neither is zero.
fn reduced(left: u128, right: u128) -> (u128, u128) {
    let (mut divisor, mut rest) = (left, right);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (left / divisor.max(1), right / divisor.max(1))
}
