//! How values are made comparable: one set of rules for what is stored and what is asked for.
//!
//! The index keeps what these functions make of a resource, a query asks with what they make of
//! its text, so that both sides cannot drift apart.
//!
//! | module | rule | checklist |
//! |---|---|---|
//! | [`date`] | a text is the span that it names, a Period from its start to its end | 4.44 to 4.60 |
//! | [`number`] | a stored number is exact, an asked one has the range of its digits | 4.34 to 4.43 |
//! | [`phonetic`] | Soundex by word | 4.77 |
//! | [`quantity`] | a number with the unit as given, and in base units by UCUM | 4.132 to 4.139 |
//! | [`string`] | accents, case, width, punctuation and white space do not count | 4.68 to 4.80 |
//! | [`token`] | a code's case counts where its system says so | 4.81 to 4.91 |
//! | [`uri`] | literal; a canonical splits into url, version and fragment | 4.121 to 4.125, 4.141 to 4.145 |

pub mod date;
pub mod number;
pub mod phonetic;
pub mod quantity;
pub mod string;
pub mod token;
pub mod uri;
