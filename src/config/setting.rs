//! The table behind the configuration: each key written once, with its default and its text.
//!
//! [`configuration!`] makes the typed structs, the defaults and `examples/kiln.toml` out of the
//! same lines, so that none of them can differ from the others.
//!
//! Layer: 0. Imports nothing.

use std::fmt::Write as _;

/// The value a key has when nobody sets it, which also says how its text is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preset {
    /// `true` or `false`.
    Flag(bool),
    /// Several texts, none at first; commas part them in a flag or a variable.
    List,
    /// A whole number.
    Number(u64),
    /// A secret, unset; the text is an example. `<KEY>_FILE` names a file that holds it.
    Secret(&'static str),
    /// One text.
    Text(&'static str),
    /// One text, unset; the text is an example.
    Unset(&'static str),
}

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What it is for: the lines of its doc comment.
    pub about: &'static [&'static str],
    /// Its name within its section.
    pub key: &'static str,
    /// Its value when nobody sets it.
    pub preset: Preset,
}

/// The keys under one `[heading]`; the top level has the empty name. Of some there are many, each with a
/// name that the operator chooses: `[heading.name]`.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What it is for: the lines of its doc comment.
    pub about: &'static [&'static str],
    /// Whether there are many, each with a name.
    pub is_many: bool,
    /// Its name in the file.
    pub name: &'static str,
    /// Its keys, in the order of the file.
    pub settings: &'static [Setting],
}

impl Section {
    /// The dotted name of a key of this section; where there are many, of one called NAME.
    pub fn path(&self, setting: &Setting) -> String {
        match self.name {
            "" => setting.key.to_owned(),
            name if self.is_many => format!("{name}.NAME.{}", setting.key),
            name => format!("{name}.{}", setting.key),
        }
    }

    /// The environment variable that overrides a key of this section.
    pub fn variable(&self, setting: &Setting) -> String {
        format!("KILN_{}", self.path(setting).replace('.', "__").to_uppercase())
    }
}

/// Writes `sections` as a file with every key, its explanation and its default.
pub(super) fn example(sections: &[Section]) -> String {
    let mut text = String::from(
        "# Every setting of Kiln with its default. Generated from the doc comments of `config`:\n\
         # change those, then `UPDATE_GOLDEN=1 cargo test --lib config`.\n\
         #\n\
         # A flag wins over an environment variable, that over this file, that over the default.\n",
    );
    for section in sections {
        text.push('\n');
        // Sections of which there is none at first are there as comments.
        let off = if section.is_many { "# " } else { "" };
        if !section.name.is_empty() {
            comment(&mut text, section.about);
            let name = if section.is_many { ".NAME" } else { "" };
            let _ = writeln!(text, "{off}[{}{name}]", section.name);
        }
        for (place, setting) in section.settings.iter().enumerate() {
            if place > 0 {
                text.push('\n');
            }
            comment(&mut text, setting.about);
            let _ = writeln!(text, "# {}", section.variable(setting));
            let _ = match setting.preset {
                Preset::Flag(value) => writeln!(text, "{off}{} = {value}", setting.key),
                Preset::List => writeln!(text, "{off}{} = []", setting.key),
                Preset::Number(number) => writeln!(text, "{off}{} = {number}", setting.key),
                Preset::Text(value) => writeln!(text, "{off}{} = {value:?}", setting.key),
                Preset::Secret(value) | Preset::Unset(value) => {
                    writeln!(text, "# {} = {value:?}", setting.key)
                }
            };
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "{}", format!("#{line}").trim_end());
    }
}

/// Declares the configuration: its struct, the struct of each section, and [`Section`]s of both. Sections
/// `beside` them are declared elsewhere.
macro_rules! configuration {
    (
        $(#[doc = $about:literal])*
        $config:ident {
            $($(#[doc = $top_doc:literal])* $top:ident: $top_type:ty = $top_preset:expr,)*
        }
        $(
            $(#[doc = $section_doc:literal])*
            [$section:ident] $name:ident {
                $($(#[doc = $doc:literal])* $key:ident: $type:ty = $preset:expr,)*
            }
        )*
        beside {
            $($beside:ident: $beside_name:ident,)*
        }
        many {
            $($(#[doc = $many_about:literal])* $many:ident: $many_name:ident,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $config {
            $($(#[doc = $top_doc])* pub $top: $top_type,)*
            $($(#[doc = $section_doc])* pub $section: $name,)*
            $(#[doc = concat!("`[", stringify!($beside), "]`")] pub $beside: $beside_name,)*
            $($(#[doc = $many_about])* pub $many: std::collections::BTreeMap<String, $many_name>,)*
        }

        impl $config {
            /// Every key, in the order of `examples/kiln.toml`.
            pub const SECTIONS: &'static [Section] = &[
                Section {
                    about: &[$($about),*],
                    is_many: false,
                    name: "",
                    settings: &[$(Setting {
                        about: &[$($top_doc),*],
                        key: stringify!($top),
                        preset: $top_preset,
                    }),*],
                },
                $($name::SECTION,)*
                $($beside_name::SECTION,)*
                $($many_name::SECTION,)*
            ];
        }

        $($crate::config::setting::section! {
            false
            $(#[doc = $section_doc])*
            [$section] $name {
                $($(#[doc = $doc])* $key: $type = $preset,)*
            }
        })*
    };
}

/// Declares one section, or one of which there are many, each under a name of its own.
macro_rules! section {
    (
        $is_many:literal
        $(#[doc = $about:literal])*
        [$section:ident] $name:ident {
            $($(#[doc = $doc:literal])* $key:ident: $type:ty = $preset:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])* pub $key: $type,)*
        }

        impl $name {
            /// Its keys, in the order of `examples/kiln.toml`.
            pub(super) const SECTION: Section = Section {
                about: &[$($about),*],
                is_many: $is_many,
                name: stringify!($section),
                settings: &[$(Setting {
                    about: &[$($doc),*],
                    key: stringify!($key),
                    preset: $preset,
                }),*],
            };
        }
    };
}

pub(super) use {configuration, section};
