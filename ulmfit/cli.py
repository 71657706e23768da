"""The command line: the commands by name, and what becomes of their errors.

Heavy imports wait inside the commands, so that `ulmfit --help` answers at once. Whatever a user can get wrong is an
InputError: one line, exit code 2. What fails while it runs exits with 1. Nobody sees a traceback.
"""

import os
import sys
import tempfile
import traceback

import typer

from .commands.lm import generate, import_fastai, perplexity
from .commands.model import doctor, evaluate, predict
from .commands.options import option
from .commands.rates import lr_find, plot
from .commands.train import classify, finetune, pretrain, quickstart, run
from .errors import InputError, StepTooLarge
from .interrupts import exit_code
from .printable import one_line

NOBODY_READS = 141  # 128 + SIGPIPE, as of any program before a pipe that is closed: not all was said, or done


class Commands(typer.core.TyperGroup):
    """Typer answers Ctrl-C and a closed pipe by itself, and in silence; here they go on to `main`."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None
        except BrokenPipeError:  # whoever read us has gone, as `head` does: stop in silence
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOBODY_READS

    def list_commands(self, ctx):
        """Typer puts groups at the end; `plot` belongs beside `lr-find`."""
        names = [name for name in super().list_commands(ctx) if name != "plot"]
        names.insert(names.index("lr-find") + 1, "plot")
        return names


def _print_version(asked: bool):
    if asked:
        from .provenance import commit, version

        print(f"minilstm {version('minilstm') or 'not installed'}" + (f", commit {c}" if (c := commit()) else ""))
        raise typer.Exit


app = typer.Typer(
    cls=Commands, help="ULMFiT: train a text classifier in three stages, on an LSTM written by hand.",
    add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


@app.callback()
def _options(
    threads: option(
        int, "Threads to compute with; 0: one for every processor that it may use. Where the compiled kernels run, "
        "results do not depend on it.", "--threads", min=0,
    ) = 0,
    version: option(bool, "Version and commit.", "--version", callback=_print_version, is_eager=True) = False,
):  # fmt: skip
    """What goes before a command."""
    from minilstm import set_num_threads

    set_num_threads(threads or None)


for command in (
    quickstart, run, pretrain, finetune, classify, evaluate, predict, perplexity, generate, lr_find, import_fastai,
    doctor,
):  # in the order of --help  # fmt: skip
    app.command()(command)
app.add_typer(plot, name="plot")
TRAIN = ("run", "pretrain", "finetune", "classify", "lr-find")  # the commands that do, with --set


def main(argv=None) -> int:
    """Run the command line -> the exit code. The one place where errors become lines."""
    for stream in (sys.stdout, sys.stderr):  # a text that no encoding can say must not end the program
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    try:
        return app(args=arguments, prog_name="ulmfit", standalone_mode=False) or 0
    except InputError as e:
        return _say(str(e), 2)
    except (typer.Abort, KeyboardInterrupt) as e:
        return _say(str(e) or "stopped", exit_code(e.__cause__ or e))
    except FloatingPointError as e:
        return _say(str(e), 1)
    except StepTooLarge as e:
        return _say(f"out of memory: {e}", 1)
    except MemoryError as e:
        command = next((a for a in arguments if a in typer.main.get_command(app).commands), None)
        stage = command if command in ("pretrain", "finetune") else "classify"
        remedy = f"; a smaller batch_size helps, e.g. --set {stage}.batch_size=16" if command in TRAIN else ""
        return _say("out of memory" + (f" ({e})" if str(e) else "") + remedy, 1)
    except OSError as e:
        return _say(f"{e.filename or 'the system'}: {e.strerror or e}", 1)
    except Exception as e:
        if hasattr(e, "exit_code"):  # the command line itself was wrong
            return _usage_error(e)
        with tempfile.NamedTemporaryFile("w", prefix="ulmfit-", suffix=".log", delete=False) as f:
            traceback.print_exc(file=f)
        return _say(f"internal error ({type(e).__name__}: {e}); please report it with {f.name}", 1)


def _say(text, code):
    print("error: " + one_line(" ".join(text.split())), file=sys.stderr)
    return code


def _usage_error(e):
    """An unknown option or a missing argument: the line, and where help is."""
    command = e.ctx.command_path if getattr(e, "ctx", None) else "ulmfit"
    if hasattr(e, "format_message"):
        said = e.format_message().replace("Value error, ", "").replace("Input should be", "should be")
        return _say(f"{said.rstrip('.')} (see {command} --help)", 2)
    return e.exit_code  # --help and the like
