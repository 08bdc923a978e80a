//! The policy of a route: `rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms"`.

use proc_macro2::Ident;
use syn::parse::{Parse, ParseStream};
use syn::{LitInt, LitStr};

use crate::{errors::Errors, options};

/// A kind of quantity: the error that describes it, and its units with their factors.
struct Shape {
    expected: &'static str,
    units: &'static [(&'static str, u64)],
}

/// The factor of a unit is its length in seconds.
const RATE: Shape = Shape {
    expected: r#"a rate is a count per unit: `rate = "30/s"`; the units are `s`, `min` and `h`"#,
    units: &[("/s", 1), ("/min", 60), ("/h", 3600)],
};
/// In bytes.
const MAX_SIZE: Shape = Shape {
    expected: r#"a size is a number and a unit: `max_size = "512B"`; the units are `B`, `KiB` and `MiB`"#,
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)],
};
/// In milliseconds.
const TIMEOUT: Shape = Shape {
    expected: r#"a time is a number and a unit: `timeout = "50ms"`; the units are `ms`, `s` and `min`"#,
    units: &[("ms", 1), ("s", 1000), ("min", 60_000)],
};
const BURST: &str = "a burst is a count: `burst = 60`";
const EXPECTED: &str = "expected `rate`, `burst`, `max_size` or `timeout`";

/// The limits of a route's messages. `None` means no limit.
#[derive(Default, PartialEq)]
pub(crate) struct Policy {
    pub(crate) rate: Option<Rate>,
    /// In bytes.
    pub(crate) max_size: Option<u64>,
    /// In milliseconds.
    pub(crate) timeout: Option<u64>,
}

/// At most `count` messages in every `seconds` seconds, and at most `burst` of them at once.
#[derive(PartialEq)]
pub(crate) struct Rate {
    pub(crate) count: u32,
    pub(crate) seconds: u64,
    pub(crate) burst: u32,
}

impl Policy {
    /// Reads `name = value, …` up to the end of the input.
    pub(crate) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Self> {
        let (mut policy, mut burst) = (Self::default(), None);
        options::named(input, errors, EXPECTED, |name, input| {
            match name.to_string().as_str() {
                "rate" => policy.rate = Some(rate(name, input)?),
                "burst" => burst = Some((name.clone(), count(name, input)?)),
                "max_size" => policy.max_size = Some(product(name, &MAX_SIZE, input)?),
                "timeout" => policy.timeout = Some(product(name, &TIMEOUT, input)?),
                _ => return Err(options::unknown(name, EXPECTED)),
            }
            Ok(())
        })?;
        match (&mut policy.rate, burst) {
            (_, None) => {}
            (Some(rate), Some((_, burst))) => rate.burst = burst,
            (None, Some((name, _))) => errors.at(name, r#"`burst` needs a rate: add `rate = "30/s"`"#),
        }
        Ok(policy)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads `= "30/s"`. The burst is the rate's count, unless another one is given.
fn rate(name: &Ident, input: ParseStream<'_>) -> syn::Result<Rate> {
    let (count, seconds, literal) = quantity(name, &RATE, input)?;
    let count = u32::try_from(count).map_err(|_| too_large(name, &literal))?;
    Ok(Rate { count, seconds, burst: count })
}

/// Reads `= 60`.
fn count(name: &Ident, input: ParseStream<'_>) -> syn::Result<u32> {
    let literal: LitInt = options::value(name, input, <LitInt as Parse>::parse, BURST)?;
    match literal.base10_parse() {
        Ok(0) => Err(syn::Error::new(literal.span(), format!("`{name}` must not be zero"))),
        Ok(count) => Ok(count),
        Err(_) => Err(syn::Error::new(literal.span(), BURST)),
    }
}

/// Reads `= "30/s"` as the number, the factor of the unit, and the literal.
fn quantity(name: &Ident, shape: &Shape, input: ParseStream<'_>) -> syn::Result<(u64, u64, LitStr)> {
    let literal: LitStr = options::value(name, input, <LitStr as Parse>::parse, shape.expected)?;
    let text = literal.value();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let known = shape.units.iter().find(|(name, _)| *name == unit.trim_start());
    let (Some((_, factor)), false) = (known, number.is_empty()) else {
        return Err(syn::Error::new(literal.span(), shape.expected));
    };
    let number: u64 = number.parse().map_err(|_| too_large(name, &literal))?;
    if number == 0 {
        return Err(syn::Error::new(literal.span(), format!("`{name}` must not be zero")));
    }
    Ok((number, *factor, literal))
}

/// Reads `= "512B"` as a number of the smallest unit, which must fit into 32 bits.
fn product(name: &Ident, shape: &Shape, input: ParseStream<'_>) -> syn::Result<u64> {
    let (number, factor, literal) = quantity(name, shape, input)?;
    let product = number.checked_mul(factor).filter(|product| *product <= u32::MAX.into());
    product.ok_or_else(|| too_large(name, &literal))
}

fn too_large(name: &Ident, literal: &LitStr) -> syn::Error {
    syn::Error::new(literal.span(), format!("`{name}` is too large"))
}
