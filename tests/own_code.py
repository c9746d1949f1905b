"""A user's own code for Liquibase to run: a custom change and a custom precondition, in a jar."""

import shutil
import subprocess
import zipfile
from pathlib import Path

from tests import needs
from tests.liquibase import liquibase_home

_OLDEST_JAVA = "11"

_NOTE = """
package own;

import java.nio.charset.StandardCharsets;
import liquibase.Scope;
import liquibase.change.custom.CustomTaskChange;
import liquibase.database.Database;
import liquibase.database.jvm.JdbcConnection;
import liquibase.exception.CustomChangeException;
import liquibase.exception.ValidationErrors;
import liquibase.resource.ResourceAccessor;

/** Inserts into the table notes what its jar says, or what is in a file. */
public class Note implements CustomTaskChange {
    private String file;
    private String place;

    /** Its name shows that it names a file. */
    public void setNoteFile(String file) { this.file = file; }

    /** Its name does not. */
    public void setPlace(String place) { this.place = place; }

    @Override public void execute(Database database) throws CustomChangeException {
        JdbcConnection connection = (JdbcConnection) database.getConnection();
        try (var insert = connection.prepareStatement("insert into notes values (?)")) {
            insert.setString(1, text());
            insert.execute();
        } catch (Exception error) {
            throw new CustomChangeException(error);
        }
    }

    private String text() throws Exception {
        String path = file != null ? file : place;
        try (var stream = path == null
                ? Note.class.getResourceAsStream("word")
                : Scope.getCurrentScope().getResourceAccessor().getExisting(path)
                    .openInputStream()) {
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    @Override public String getConfirmationMessage() { return "noted"; }
    @Override public void setUp() { }
    @Override public void setFileOpener(ResourceAccessor accessor) { }
    @Override public ValidationErrors validate(Database database) {
        return new ValidationErrors();
    }
}
"""

_NOTED = """
package own;

import liquibase.database.Database;
import liquibase.database.jvm.JdbcConnection;
import liquibase.exception.CustomPreconditionErrorException;
import liquibase.exception.CustomPreconditionFailedException;
import liquibase.precondition.CustomPrecondition;

/** Holds if there is such a note. */
public class Noted implements CustomPrecondition {
    private String text;

    public void setText(String text) { this.text = text; }

    @Override public void check(Database database)
            throws CustomPreconditionFailedException, CustomPreconditionErrorException {
        JdbcConnection connection = (JdbcConnection) database.getConnection();
        try (var query = connection.prepareStatement("select from notes where note = ?")) {
            query.setString(1, text);
            if (!query.executeQuery().next()) {
                throw new CustomPreconditionFailedException("nobody noted " + text);
            }
        } catch (java.sql.SQLException | liquibase.exception.DatabaseException error) {
            throw new CustomPreconditionErrorException("cannot look for notes", error);
        }
    }
}
"""

_SPY = """
package own;

import java.nio.charset.StandardCharsets;
import liquibase.change.custom.CustomTaskChange;
import liquibase.database.Database;
import liquibase.database.jvm.JdbcConnection;
import liquibase.exception.CustomChangeException;
import liquibase.exception.ValidationErrors;
import liquibase.resource.ResourceAccessor;

/** Notes what another left behind in its Java and what a program says, and leaves much behind. */
public class Spy implements CustomTaskChange {
    private static String left = "nothing";

    @Override public void execute(Database database) throws CustomChangeException {
        String found = left + ", " + System.getProperty("own.left", "nothing") + ", "
            + Thread.getAllStackTraces().keySet().stream()
                .filter(one -> one.getName().equals("left behind")).count();
        left = "a field";
        System.setProperty("own.left", "a property");
        Thread thread = new Thread(Spy::stay, "left behind");
        thread.start();
        Runtime.getRuntime().addShutdownHook(new Thread(Spy::stay));
        JdbcConnection connection = (JdbcConnection) database.getConnection();
        try (var insert = connection.prepareStatement("insert into notes values (?), (?)")) {
            insert.setString(1, found);
            insert.setString(2, said());
            insert.execute();
        } catch (Exception error) {
            throw new CustomChangeException(error);
        }
    }

    private static void stay() {
        while (true) {
            try { Thread.sleep(1000); } catch (InterruptedException error) { }
        }
    }

    /** What the program says whose words are in its jar. */
    private static String said() throws Exception {
        try (var stream = Spy.class.getResourceAsStream("word")) {
            String words = new String(stream.readAllBytes(), StandardCharsets.UTF_8);
            Process program = new ProcessBuilder(words.split("\\u0000"))
                .redirectErrorStream(true).start();
            return new String(program.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    @Override public String getConfirmationMessage() { return "spied"; }
    @Override public void setUp() { }
    @Override public void setFileOpener(ResourceAccessor accessor) { }
    @Override public ValidationErrors validate(Database database) {
        return new ValidationErrors();
    }
}
"""

_SOURCES = {"Note": _NOTE, "Noted": _NOTED, "Spy": _SPY}


def compiled(directory: Path) -> Path:
    """The classes ``own.Note``, ``own.Noted`` and ``own.Spy``, as files below a directory.

    The test is skipped without a Java compiler, but in CI that is a failure.
    """
    compiler = shutil.which("javac")
    if compiler is None:
        needs.missing("there is no javac (Debian: default-jdk-headless)")
    sources = directory / "sources"
    sources.mkdir()
    for name, text in _SOURCES.items():
        (sources / f"{name}.java").write_text(text)
    classes = directory / "classes"
    subprocess.run(
        [
            *(compiler, "--release", _OLDEST_JAVA, "-d", classes),
            *("-classpath", liquibase_home() / "liquibase-core.jar"),
            *(sources / f"{name}.java" for name in _SOURCES),
        ],
        check=True,
        capture_output=True,
    )
    return classes


def pack(jar: Path, classes: Path, *, word: str) -> Path:
    """Put them into a jar that says ``word``."""
    with zipfile.ZipFile(jar, "w") as archive:
        for path in sorted(classes.rglob("*.class")):
            archive.write(path, path.relative_to(classes))
        archive.writestr("own/word", word)
    return jar
