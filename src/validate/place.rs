//! Where the walk is: a chain on the stack that becomes a FHIRPath expression when asked.

use std::fmt;

/// One step of the way from the root to an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    name: &'p str,
    index: Option<usize>,
    /// Arrays and objects open around the value, itself included when it is one.
    depth: usize,
}

impl<'p> Place<'p> {
    /// The root, called `name`: a type, or the expression of a larger document's element.
    pub(super) fn root(name: &'p str) -> Self {
        Self { parent: None, name, index: None, depth: 1 }
    }

    /// The element `name` of this one.
    pub(super) fn child(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), name, index: None, depth: self.depth + 1 }
    }

    /// The repetition `index` of this element.
    pub(super) fn at(&self, index: usize) -> Self {
        Self { index: Some(index), depth: self.depth + 1, ..*self }
    }

    /// How deep the value is nested, the root being 1.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Which repetition of its element it is; `None` for one that stands alone.
    pub(super) fn index(&self) -> Option<usize> {
        self.index
    }

    /// The last name.
    pub(super) fn name(&self) -> &'p str {
        self.name
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            None => f.write_str(self.name)?,
            Some(parent) => {
                parent.fmt(f)?;
                f.write_str(".")?;
                write_name(f, self.name)?;
            }
        }
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// A name as FHIRPath writes it: between backticks when it is no identifier, cut when it is long.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    const LONGEST: usize = 64;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if starts && name.len() <= LONGEST && name.bytes().all(letter) {
        return f.write_str(name);
    }
    f.write_str("`")?;
    for character in name.chars().take(LONGEST) {
        match character {
            '`' | '\\' => write!(f, "\\{character}")?,
            _ if character.is_control() => f.write_str("\u{fffd}")?,
            _ => write!(f, "{character}")?,
        }
    }
    f.write_str("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_prints_as_fhirpath() {
        let root = Place::root("Patient");
        let name = root.child("name");
        let name = name.at(1);
        let given = name.child("given");
        assert_eq!(given.at(0).to_string(), "Patient.name[1].given[0]");
        assert_eq!(given.at(0).depth(), 5);
        for (odd, printed) in [
            ("a-b", "Patient.`a-b`"),
            ("", "Patient.``"),
            ("1a", "Patient.`1a`"),
            ("a`b\\", "Patient.`a\\`b\\\\`"),
            ("a\nb", "Patient.`a\u{fffd}b`"),
        ] {
            assert_eq!(root.child(odd).to_string(), printed);
        }
        assert!(root.child(&"x".repeat(1_000)).to_string().len() < 100);
    }
}
