//! Files of records: fields between separators, or of fixed width.

use std::io::{BufRead, Read as _};
use std::ops::Range;

use super::{Fault, Files};

/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// How a record's fields are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// By a character that no field has.
    Separated(u8),
    /// By commas; a field in quotes may have commas, line ends and doubled quotes.
    Quoted,
    /// Not at all: the line is one field.
    Line,
}

/// A file of records.
pub(super) struct Table<'f> {
    file: &'f str,
    form: Form,
    reader: Box<dyn BufRead + 'f>,
    /// The line that the record began in, and the lines read so far.
    line: u64,
    lines: u64,
    text: String,
    fields: Vec<Range<usize>>,
    raw: Vec<u8>,
}

impl<'f> Table<'f> {
    /// Opens a file.
    pub(super) fn open(files: &'f dyn Files, file: &'f str, form: Form) -> Result<Self, Fault> {
        let unreadable = |source| Fault::Unreadable { file: file.to_owned(), source };
        let reader = files.open(file).map_err(unreadable)?;
        let (text, fields, raw) = Default::default();
        Ok(Self { file, form, reader, line: 0, lines: 0, text, fields, raw })
    }

    /// The same with a first record that names the fields; where those of `names` are.
    pub(super) fn with_header<const N: usize>(
        files: &'f dyn Files,
        file: &'f str,
        form: Form,
        names: [&str; N],
    ) -> Result<(Self, [usize; N]), Fault> {
        let mut table = Self::open(files, file, form)?;
        if !table.next()? {
            return Err(Fault::of_file(file, "is empty"));
        }
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            let at = (0..table.fields.len()).find(|at| table.text_at(*at) == name);
            *place = at.ok_or_else(|| table.fault(0, format!("the header lacks {name:?}")))?;
        }
        Ok((table, places))
    }

    /// Reads the next record, if there is one; empty lines are passed over.
    pub(super) fn next(&mut self) -> Result<bool, Fault> {
        loop {
            self.text.clear();
            self.fields.clear();
            self.line = self.lines + 1;
            if !self.read_line()? {
                return Ok(false);
            }
            if self.raw.is_empty() {
                continue;
            }
            match self.form {
                Form::Line => self.whole(),
                Form::Quoted => self.quoted()?,
                Form::Separated(separator) => self.separated(separator)?,
            }
            return Ok(true);
        }
    }

    /// A field by its place, from 0.
    pub(super) fn field(&self, at: usize) -> Result<&str, Fault> {
        let Some(range) = self.fields.get(at) else {
            let count = self.fields.len();
            return Err(self.fault(at + 1, format!("is missing: the line has {count} columns")));
        };
        Ok(&self.text[range.clone()])
    }

    /// The same for one that must not be empty.
    pub(super) fn filled(&self, at: usize) -> Result<&str, Fault> {
        let text = self.field(at)?;
        if text.is_empty() { Err(self.fault(at + 1, "is empty")) } else { Ok(text) }
    }

    /// The same for a code: no white space at the ends, none doubled.
    pub(super) fn code(&self, at: usize) -> Result<&str, Fault> {
        let text = self.filled(at)?;
        let is_code = text.split(' ').all(|part| !part.is_empty())
            && !text.contains(|letter: char| letter.is_control());
        if is_code { Ok(text) } else { Err(self.fault(at + 1, format!("{text:?} is no code"))) }
    }

    /// The same for `0` or `1`.
    pub(super) fn flag(&self, at: usize) -> Result<bool, Fault> {
        match self.field(at)? {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(self.fault(at + 1, format!("{other:?} is neither 0 nor 1"))),
        }
    }

    /// What is wrong at a column of this record, from 1; 0 is the record as a whole.
    pub(super) fn fault(&self, column: usize, reason: impl Into<String>) -> Fault {
        let (file, line) = (self.file.to_owned(), self.line);
        Fault::Content { file, line, column, reason: reason.into() }
    }

    fn text_at(&self, at: usize) -> &str {
        self.fields.get(at).map_or("", |range| &self.text[range.clone()])
    }

    /// Reads one line without its end into `raw`.
    fn read_line(&mut self) -> Result<bool, Fault> {
        self.raw.clear();
        let most = MAX_RECORD_BYTES as u64 + 1;
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut self.raw);
        let read =
            read.map_err(|source| Fault::Unreadable { file: self.file.to_owned(), source })?;
        if read == 0 {
            return Ok(false);
        }
        self.lines += 1;
        if self.raw.len() > MAX_RECORD_BYTES {
            return Err(self.fault(0, format!("is longer than {MAX_RECORD_BYTES} bytes")));
        }
        if self.raw.last() == Some(&b'\n') {
            self.raw.pop();
        }
        if self.raw.last() == Some(&b'\r') {
            self.raw.pop();
        }
        if self.lines == 1 && self.raw.starts_with(b"\xef\xbb\xbf") {
            self.raw.drain(..3);
        }
        if let Err(fault) = std::str::from_utf8(&self.raw) {
            let good = &self.raw[..fault.valid_up_to()];
            let column = match self.form {
                Form::Separated(separator) => memchr::memchr_iter(separator, good).count() + 1,
                Form::Line | Form::Quoted => 0,
            };
            return Err(self.fault(column, "is not UTF-8"));
        }
        Ok(true)
    }

    /// What was read as text: it was checked.
    fn line_text(&self) -> &str {
        std::str::from_utf8(&self.raw).unwrap_or_default()
    }

    fn whole(&mut self) {
        let line = std::str::from_utf8(&self.raw).unwrap_or_default();
        self.text.push_str(line);
        self.fields.push(0..line.len());
    }

    fn separated(&mut self, separator: u8) -> Result<(), Fault> {
        let mut start = 0;
        for end in memchr::memchr_iter(separator, &self.raw).chain([self.raw.len()]) {
            self.fields.push(start..end);
            start = end + 1;
        }
        let line = std::str::from_utf8(&self.raw).map_err(|_| self.fault(0, "is not UTF-8"))?;
        self.text.push_str(line);
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Fault> {
        let mut start = 0;
        // Where the next character of the line is, and whether quotes are open.
        let (mut at, mut is_open, mut was_closed) = (0, false, false);
        loop {
            let rest = &self.line_text()[at..];
            let Some(letter) = rest.chars().next() else {
                if !is_open {
                    self.fields.push(start..self.text.len());
                    return Ok(());
                }
                if !self.read_line()? {
                    return Err(self.fault(self.fields.len() + 1, "a quote is not closed"));
                }
                if self.text.len() + self.raw.len() > MAX_RECORD_BYTES {
                    return Err(self.fault(0, format!("is longer than {MAX_RECORD_BYTES} bytes")));
                }
                self.text.push('\n');
                at = 0;
                continue;
            };
            let is_doubled = rest.starts_with("\"\"");
            at += letter.len_utf8();
            match letter {
                '"' if is_open && is_doubled => {
                    self.text.push('"');
                    at += 1;
                }
                '"' if is_open => (is_open, was_closed) = (false, true),
                '"' if self.text.len() == start && !was_closed => is_open = true,
                ',' if !is_open => {
                    self.fields.push(start..self.text.len());
                    (start, was_closed) = (self.text.len(), false);
                }
                _ if was_closed => {
                    let column = self.fields.len() + 1;
                    return Err(self.fault(column, "something follows the closing quote"));
                }
                other => self.text.push(other),
            }
        }
    }
}
