//! A file of JSON Lines that is finished becomes a Parquet file.
//!
//! Owns: [`Conversion`], its steps and what each leaves if nothing comes after it. The lines are there until the Parquet
//! file is whole, synced and has its name. Must not: know when it is called.

use super::columns::{Cell, Column, row, schema};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// End of the name of lines that wait for this.
pub(super) const WAITING: &str = ".jsonl.wait";
/// Lines of a row group, which is in memory as a whole.
const GROUP_ROWS: usize = 50_000;
/// Bytes of its lines; the last one may be longer.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// What is to be done next.
enum Step {
    /// Some lines, or the end.
    Write,
    /// The file gets its name.
    Name,
    /// The lines go.
    Clear,
    Done,
}

/// One conversion on its way.
pub(super) struct Conversion {
    folder: PathBuf,
    /// Of all names, without their ends.
    stem: String,
    columns: Arc<[Column]>,
    step: Step,
    lines: Option<BufReader<fs::File>>,
    file: Option<SerializedFileWriter<fs::File>>,
    /// Lines that fit no more, for the columns are others than when they were written.
    rest: Option<fs::File>,
}

/// Cells of one column, as they are written.
enum Cells {
    Bytes(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Floats(Vec<f64>),
    Flags(Vec<bool>),
}

struct Values {
    cells: Cells,
    /// 1 where there is one.
    levels: Vec<i16>,
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => io::Error::other(error),
        error => io::Error::other(error.to_string()),
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    options.mode(0o640).open(path)
}

impl Values {
    fn of(column: &Column) -> Self {
        use super::columns::Kind;
        Self {
            cells: match column.kind {
                Kind::Text | Kind::Json | Kind::Bytes => Cells::Bytes(Vec::new()),
                Kind::Integer | Kind::Timestamp => Cells::Numbers(Vec::new()),
                Kind::Float => Cells::Floats(Vec::new()),
                Kind::Boolean => Cells::Flags(Vec::new()),
            },
            levels: Vec::new(),
        }
    }

    fn push(&mut self, cell: Option<Cell>) {
        self.levels.push(i16::from(cell.is_some()));
        match (&mut self.cells, cell) {
            (Cells::Bytes(cells), Some(Cell::Bytes(bytes))) => cells.push(bytes.into()),
            (Cells::Numbers(cells), Some(Cell::Number(number))) => cells.push(number),
            (Cells::Floats(cells), Some(Cell::Float(number))) => cells.push(number),
            (Cells::Flags(cells), Some(Cell::Flag(flag))) => cells.push(flag),
            // Null: a column makes no other cells.
            _ => {}
        }
    }

    fn write(
        &self,
        is_required: bool,
        to: &mut ColumnWriter<'_>,
    ) -> parquet::errors::Result<usize> {
        let levels = (!is_required).then_some(self.levels.as_slice());
        match (&self.cells, to) {
            (Cells::Bytes(cells), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(cells, levels, None)
            }
            (Cells::Numbers(cells), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(cells, levels, None)
            }
            (Cells::Floats(cells), ColumnWriter::DoubleColumnWriter(to)) => {
                to.write_batch(cells, levels, None)
            }
            (Cells::Flags(cells), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(cells, levels, None)
            }
            _ => Err(ParquetError::General("a column of another type".to_owned())),
        }
    }
}

impl Conversion {
    /// Begins anew, whatever an earlier one left.
    ///
    /// # Errors
    /// A file cannot be read or made.
    pub(super) fn begin(waiting: &Path, columns: Arc<[Column]>) -> io::Result<Self> {
        let folder = waiting.parent().unwrap_or(Path::new("")).to_owned();
        let name = waiting.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(WAITING).unwrap_or(&name).to_owned();
        let mut made = Self {
            folder,
            stem,
            columns,
            step: Step::Clear,
            lines: None,
            file: None,
            rest: None,
        };
        // It has its name after everything else, so it is whole.
        if !made.path(".parquet").exists() {
            let schema = schema(&made.columns).map_err(failed)?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_created_by(format!("witmq {}", env!("CARGO_PKG_VERSION")))
                .build();
            let file = create(&made.path(".parquet.part"))?;
            let file = SerializedFileWriter::new(file, schema, Arc::new(properties));
            made.file = Some(file.map_err(failed)?);
            made.lines = Some(BufReader::new(fs::File::open(waiting)?));
            made.step = Step::Write;
        }
        Ok(made)
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}{end}", self.stem))
    }

    fn sync_folder(&self) -> io::Result<()> {
        fs::File::open(&self.folder)?.sync_all()
    }

    /// One step; false: there is none left.
    ///
    /// # Errors
    /// A file cannot be written. Everything is as if it had not begun.
    pub(super) fn go_on(&mut self) -> io::Result<bool> {
        self.step = match self.step {
            Step::Write => match self.write_group()? {
                true => Step::Write,
                false => {
                    self.end()?;
                    Step::Name
                }
            },
            Step::Name => {
                if self.rest.take().is_some() {
                    fs::rename(self.path(".rest.jsonl.part"), self.path(".rest.jsonl"))?;
                }
                fs::rename(self.path(".parquet.part"), self.path(".parquet"))?;
                self.sync_folder()?;
                Step::Clear
            }
            Step::Clear => {
                fs::remove_file(self.path(WAITING))?;
                self.sync_folder()?;
                Step::Done
            }
            Step::Done => return Ok(false),
        };
        Ok(true)
    }

    /// False: there were no more lines.
    fn write_group(&mut self) -> io::Result<bool> {
        let columns = self.columns.clone();
        let mut values: Vec<Values> = columns.iter().map(Values::of).collect();
        let (mut rows, mut bytes) = (0, 0);
        let mut line = Vec::new();
        while rows < GROUP_ROWS && bytes < GROUP_BYTES {
            line.clear();
            let Some(lines) = &mut self.lines else { break };
            if lines.read_until(b'\n', &mut line)? == 0 {
                self.lines = None;
                break;
            }
            let read: Result<Value, _> = serde_json::from_slice(&line);
            let read = read.map_err(|error| error.to_string());
            match read.and_then(|message| row(&columns, &message)) {
                Ok(row) => {
                    let cells = values.iter_mut().zip(row);
                    cells.for_each(|(values, cell)| values.push(cell));
                    rows += 1;
                    bytes += line.len();
                }
                Err(text) => {
                    tracing::warn!(file = self.stem, "a line stays as it is: {text}");
                    self.put_aside(&line)?;
                }
            }
        }
        if rows > 0 {
            let file = self.file.as_mut();
            let file = file.ok_or_else(|| io::Error::other("the file is closed"))?;
            write_columns(file, &columns, &values).map_err(failed)?;
        }
        Ok(self.lines.is_some())
    }

    fn put_aside(&mut self, line: &[u8]) -> io::Result<()> {
        let rest = match self.rest.take() {
            Some(rest) => rest,
            None => create(&self.path(".rest.jsonl.part"))?,
        };
        self.rest.insert(rest).write_all(line)
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.into_inner().map_err(failed)?.sync_all()?;
        }
        match &self.rest {
            Some(rest) => rest.sync_all(),
            None => Ok(()),
        }
    }
}

fn write_columns(
    file: &mut SerializedFileWriter<fs::File>,
    columns: &[Column],
    values: &[Values],
) -> parquet::errors::Result<()> {
    let mut group = file.next_row_group()?;
    for (column, values) in columns.iter().zip(values) {
        let Some(mut to) = group.next_column()? else {
            break;
        };
        values.write(column.is_required, to.untyped())?;
        to.close()?;
    }
    group.close().map(drop)
}

#[cfg(test)]
mod tests;
