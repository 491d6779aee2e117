//! The unified social credit code (统一社会信用代码) of an enterprise: 18 characters, the last of which is reckoned from the others.
//!
//! Source: GB 32100-2015, 4.2 (characters: digits and capital letters without I, O, S, V, Z) and annex A (weights 3^(i-1) mod 31).

/// The characters in order of their values, 0 to 30.
const CHARACTERS: &str = "0123456789ABCDEFGHJKLMNPQRTUWXY";
/// Characters of a code.
const LENGTH: usize = 18;

/// What is wrong with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not 18 characters.
    Length,
    /// A character that no code has.
    Character,
    /// The last character does not follow from the others.
    CheckDigit,
}

/// Whether `code` can be one.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(code: &str) -> Result<(), Fault> {
    let values: Vec<u32> = code.chars().map(value_of).collect::<Option<_>>().ok_or(Fault::Character)?;
    let Some((last, first)) = values.split_last().filter(|_| values.len() == LENGTH) else { return Err(Fault::Length) };
    if check_value(first) == *last { Ok(()) } else { Err(Fault::CheckDigit) }
}

/// The code that begins with these 17 characters; `None` if they cannot.
pub fn complete(first: &str) -> Option<String> {
    let values: Vec<u32> = first.chars().map(value_of).collect::<Option<_>>()?;
    let last = CHARACTERS.chars().nth(check_value(&values) as usize).filter(|_| values.len() == LENGTH - 1)?;
    Some(format!("{first}{last}"))
}

fn value_of(c: char) -> Option<u32> {
    CHARACTERS.find(c).and_then(|at| u32::try_from(at).ok())
}

fn check_value(first: &[u32]) -> u32 {
    let (mut sum, mut weight) = (0, 1);
    for value in first {
        sum = (sum + value * weight) % 31;
        weight = weight * 3 % 31;
    }
    (31 - sum) % 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_ends_in_what_follows_from_it() {
        // Published as an example of a code in many places; the arithmetic was done by hand as well.
        assert_eq!(check("91350100M000100Y43"), Ok(()));
        assert_eq!(check("91350100M000100Y44"), Err(Fault::CheckDigit));
        assert_eq!(check("91350100M000100Y4"), Err(Fault::Length));
        assert_eq!(check("91350100M000100I43"), Err(Fault::Character));
        assert_eq!(check("91350100m000100y43"), Err(Fault::Character));
        assert_eq!(complete("91350100M000100Y4").as_deref(), Some("91350100M000100Y43"));
        assert_eq!(complete("91350100M"), None);
    }

    #[test]
    fn one_wrong_character_or_two_neighbours_changed_round_are_found() {
        let code = "91350100M000100Y43";
        for (i, c) in code.char_indices() {
            for other in CHARACTERS.chars().filter(|other| *other != c) {
                let mut wrong: Vec<char> = code.chars().collect();
                wrong[i] = other;
                assert_eq!(check(&wrong.iter().collect::<String>()), Err(Fault::CheckDigit));
            }
        }
        for i in 0..LENGTH - 1 {
            let mut wrong: Vec<char> = code.chars().collect();
            wrong.swap(i, i + 1);
            let wrong: String = wrong.into_iter().collect();
            assert!(wrong == code || check(&wrong).is_err(), "{wrong}");
        }
    }
}
