"""Faults that a careless hand could leave in the engines, each of which some test has to see.

(name, file, what stands there, what stands there with the fault in it). FAULT is true where the fault is on; the right
text is kept inside, so that another fault can be seeded in the same place.

Not in the list, since they cannot matter: that k = n alone is a breakdown on the CPU (what is left then is rounding, or
three corrections leave nothing), and that products of zeros change no unit (there is nothing yet that a unit would
change, and after the first step small products do not); that the device tells the end before it stores the state (the
host reads the state with a copy in the stream's order); s.h in alpha, and nu in s, after a restart (the candidate has
just been corrected: h is at rounding level); that the quadrature takes large ends last (all values are as exact
without, but on graded matrices it takes up to twice the sweeps).
"""

STEP, BIDIAGONAL = "step.hpp", "bidiagonal.hpp"
SWEEP, TRIDIAGONAL, RESTART = "cuda/step.cuh", "cuda/tridiagonal.cuh", "cuda/restart.cuh"
SHARING, VECTORS = "cuda/sharing.cuh", "cuda/vectors.cuh"
HOST = "../../bindings/device_run.hpp"


def either(right, wrong):
    """Return an expression's text, and the same with the fault in it."""
    return right, f"(FAULT ? ({wrong}) : ({right}))"


def within(context, part, wrong):
    """Return the text around a part of it, and the same with the fault in that part."""
    equals = "= " if part.startswith("= ") else ""
    right, fault = part.removeprefix("= "), wrong.removeprefix("= ")
    return context, context.replace(part, f"{equals}(FAULT ? ({fault}) : ({right}))", 1)


def never(statement):
    """Return an if's beginning, and the same where its condition never holds."""
    return statement, statement.replace("if (", "if (!FAULT && ", 1)


CPU = [
    ("h.c missing in alpha", STEP, *either("total_.dot - 2.0 * nu * b_h - h_c", "total_.dot - 2.0 * nu * b_h")),
    ("2 nu b h missing in alpha", STEP, *either("total_.dot - 2.0 * nu * b_h - h_c", "total_.dot - h_c")),
    ("nu^2 not divided", STEP, "/ nu2;", "/ (FAULT ? 1.0 : nu2);"),
    ("beta without nu", STEP, *either("beta[k - 1] * nu", "beta[k - 1]")),
    ("gamma without b h", STEP, *either("alpha_ + b_h / nu", "alpha_")),
    ("v without 1 / nu", STEP, "sweep.inverse_nu = 1.0 / nu;", "sweep.inverse_nu = FAULT ? 1.0 : 1.0 / nu;"),
    ("z without 1 / nu", STEP, *either("factor_of(state_.exponent) / nu", "factor_of(state_.exponent)")),
    ("c without 1 / nu", STEP, "subtrahend_[j] = c / nu;", "subtrahend_[j] = FAULT ? c : c / nu;"),
    ("c without beta_{j-1}", STEP, *either("beta[j - 1] * x[j - 1]", "0.0")),
    ("c without beta_j", STEP, *either("beta[j] * x[j + 1]", "0.0")),
    ("the correction of alpha missing", STEP, *either("alpha_ + sums_.dots[static_cast<std::size_t>(rows)]", "alpha_")),
    (
        "b not written back",
        STEP,
        "if (k > 0) state_.beta.back() = beta_;",
        "if (k > 0 && !FAULT) state_.beta.back() = beta_;",
    ),
    ("breakdown 1000 times earlier", STEP, "beta <= kRoundingLevel", "beta <= (FAULT ? 1000 : 1) * kRoundingLevel"),
    ("breakdown 1000 times later", STEP, "beta <= ", "beta <= (FAULT ? 1e-3 : 1.0) * "),
    ("float32 rows corrected late", STEP, "? kUnsafeFloat32 : 0.5", "? (FAULT ? 1e-2 : kUnsafeFloat32) : 0.5"),
    ("old alpha not rescaled", STEP, "state_.alpha) a *= change;", "state_.alpha) a *= FAULT ? 1.0 : change;"),
    ("old beta not rescaled", STEP, "state_.beta) b *= change;", "state_.beta) b *= FAULT ? 1.0 : change;"),
    ("scale not rescaled", STEP, "state_.scale *= change;", "state_.scale *= FAULT ? 1.0 : change;"),
    ("max_projection not rescaled", STEP, "max_projection *= change;", "max_projection *= FAULT ? 1.0 : change;"),
    ("residual_norm without nu", STEP, *either("std::sqrt(1.0 - overlap())", "1.0")),
    # Complex vectors.
    ("h.c without its imaginary part", STEP, "h_c += hj * c;", "h_c += FAULT ? 0.0 : hj * c;"),
    ("imaginary c without 1 / nu", STEP, "imaginary_[j] = c / nu;", "imaginary_[j] = FAULT ? c : c / nu;"),
    ("gamma without its imaginary part", STEP, *either("b_h_imaginary / nu", "0.0")),
    ("nu without imaginary parts", STEP, *either("square(state_.h) + square(state_.h_imaginary)", "square(state_.h)")),
    ("an imaginary alpha not told of", STEP, "j < rows + is_complex_", "j < rows + (is_complex_ && !FAULT)"),
    # Bidiagonalization.
    ("beta without nu", BIDIAGONAL, "beta_.back() *= nu;", "beta_.back() *= FAULT ? 1.0 : nu;"),
    ("alpha without mu", BIDIAGONAL, "alpha_.back() *= mu;", "alpha_.back() *= FAULT ? 1.0 : mu;"),
    ("T h without beta", BIDIAGONAL, *either("beta_[i] * h[i + 1]", "0.0")),
    ("T^H e without beta", BIDIAGONAL, *either("beta_[i - 1] * e[i - 1]", "0.0")),
    ("T^H e without alpha", BIDIAGONAL, *either("alpha_[i] * e[i]", "0.0")),
    (
        "rows without 1 / nu",
        BIDIAGONAL,
        "sweep.inverse_nu = 1.0 / rest();\n            sweep.z_factor",
        "sweep.inverse_nu = FAULT ? 1.0 : 1.0 / rest();\n            sweep.z_factor",
    ),
    ("products without 1 / nu", BIDIAGONAL, "sweep.z_factor = factor;", "sweep.z_factor = FAULT ? 1.0 : factor;"),
    ("the new row's part of c missing", BIDIAGONAL, *either("c[r] * factor + beyond", "beyond")),
    ("the new row's imaginary part missing", BIDIAGONAL, *either("c_imaginary[r] * factor", "0.0")),
    ("the last row not finished", BIDIAGONAL, "right_.finish();", "if (!FAULT) right_.finish();"),
    ("no second correction", BIDIAGONAL, "overlap() > 0.5 *", "!FAULT && overlap() > 0.5 *"),
]

CUDA = [
    ("h.c missing in alpha", SWEEP, *either("start.change * load(&s->h_c)", "0.0")),
    ("2 nu b h missing in alpha", SWEEP, *either("2.0 * nu * b_h", "0.0")),
    ("nu^2 not divided", SWEEP, "/ nu2;", "/ (FAULT ? 1.0 : nu2);"),
    ("the correction of alpha missing", SWEEP, *either("alpha + load(run.dots + rows)", "alpha")),
    ("v without 1 / nu", SWEEP, "{run.z, 1.0 / nu,", "{run.z, FAULT ? 1.0 : 1.0 / nu,"),
    ("z without 1 / nu", SWEEP, *either("ldexp(1.0, -start.exponent) / nu", "ldexp(1.0, -start.exponent)")),
    ("gamma without b h", SWEEP, *either("alpha + b_h / nu", "alpha")),
    ("change ignored in w", SWEEP, " start.change, ", " FAULT ? 1.0 : start.change, "),
    ("change ignored in b", SWEEP, *either("start.change * load(&s->b_h)", "load(&s->b_h)")),
    ("old alpha not rescaled", SWEEP, *either("change * load(run.alpha + j)", "load(run.alpha + j)")),
    ("old beta not rescaled", SWEEP, *either("change * load(run.beta + j)", "load(run.beta + j)")),
    ("b not written back", SWEEP, "run.beta + j, j + 1 == k ? b", "run.beta + j, j + 1 == k && !FAULT ? b"),
    ("scale not rescaled", SWEEP, *either("change * scale", "scale")),
    ("max_projection not rescaled", SWEEP, *either("change * load(&s->max_projection)", "load(&s->max_projection)")),
    ("breakdown 1000 times earlier", SWEEP, "norm <= kRoundingLevel", "norm <= (FAULT ? 1000 : 1) * kRoundingLevel"),
    ("breakdown 1000 times later", SWEEP, "norm <= ", "norm <= (FAULT ? 1e-3 : 1.0) * "),
    ("k = n is no breakdown", SWEEP, "|| k == run.whole_dim,", "|| (k == run.whole_dim && !FAULT),"),
    ("float32 rows corrected late", SWEEP, "? kUnsafeFloat32 :", "? (FAULT ? 1e-2 : kUnsafeFloat32) :"),
    ("c without beta_{j-1}", SWEEP, *either("load(run.beta + j - 1) * load(run.h + j - 1)", "0.0")),
    ("c without beta_j", SWEEP, *either("load(run.beta + j) * load(run.h + j + 1)", "0.0")),
    ("c without 1 / nu", SWEEP, "Pair<double>{h, c / nu +", "Pair<double>{h, (FAULT ? c : c / nu) +"),
    ("the row norm without b", SWEEP, *either("fabs(new_alpha) + b + norm", "fabs(new_alpha)")),
    ("a correction writes the new row again", SWEEP, *within("1.0, 0.0, false}", "false", "true")),
    ("told nothing of steps", SWEEP, *within("run.told[1] = static_cast<int>(k)", "static_cast<int>(k)", "0")),
    ("told nothing of the end", SWEEP, *never("if (status != Status::running) run.told[0]")),
    # Restarts.
    ("s h missing in c", SWEEP, *either("load(run.coupling + j) * load(run.h + l)", "0.0")),
    ("s.h missing in c", SWEEP, *never("if (l > 0 && j == l) c += coupling_h")),
    ("s missing in w", SWEEP, *within("further += load(run.coupling + j)", "load(run.coupling + j)", "0.0")),
    ("s not rescaled", SWEEP, *either("change * load(run.coupling + j)", "load(run.coupling + j)")),
    ("the old candidate not corrected", RESTART, *never("if (with_candidate && group == groups - 1 && inside)")),
    (
        "beta of old rows left",
        RESTART,
        *within("store(run.beta + j, 0.0);\n            store(run.coupling", "0.0", "load(run.beta + j)"),
    ),
    ("a candidate that is coupled", RESTART, *never("if (k == l) store(run.coupling + j, 0.0)")),
    ("beta left beside a new candidate", RESTART, *never("if (j + 1 == k) store(run.beta + j, 0.0)")),
    (
        "the new candidate not corrected",
        RESTART,
        *within("Pair<double>{0.0, load(run.dots + j)}", "load(run.dots + j)", "0.0"),
    ),
    # Quadrature.
    ("no unit taken out", TRIDIAGONAL, *either("finite && largest > 0.0", "false")),
    ("a block that does not split", TRIDIAGONAL, *never("if (squares <= kSmallSquare)")),
    ("deflation 1000 times looser", TRIDIAGONAL, "e * e <= DBL_EPSILON", "e * e <= (FAULT ? 1e6 : 1.0) * DBL_EPSILON"),
    # The host.
    (
        "launches on stream 0",
        HOST,
        *within('stream_of(stream)),\n                    "launching the step"', "stream_of(stream)", "nullptr"),
    ),
    ("the run's stream not updated", HOST, *within("run.stream_ = stream;", "= stream", "= run.stream_")),
    ("a host that never waits", HOST, *within("if (near(kAhead)) return", "near(kAhead)", "true")),
    ("a host that always waits", HOST, "kAhead = 32;", "kAhead = 32; if (FAULT) wait_until([] { return false; });"),
    ("n in place of the products' stride", HOST, *within("(r) * z.strides[0]", "z.strides[0]", "run.run_.dim")),
    (
        "residual_norm without nu",
        HOST,
        *within("return last * std::sqrt(", "last", "last / std::sqrt(scalars_.nu2)"),
    ),
    (
        "the dot products of the first rank alone",
        SHARING,
        "rank < ranks; ++rank) sum +=",
        "rank < (FAULT ? Index{1} : ranks); ++rank) sum +=",
    ),
    (
        "u.z of this rank alone",
        SHARING,
        "sums.dot += load(theirs + 1);",
        "sums.dot += FAULT && rank > 0 ? 0.0 : load(theirs + 1);",
    ),
    ("a rank's failure not seen", SHARING, "load(theirs) != 0.0;", "(!FAULT && load(theirs) != 0.0);"),
    ("the end at this rank's own entries", SWEEP, "k == run.whole_dim", "k == (FAULT ? run.dim : run.whole_dim)"),
    (
        "rows turned by the transpose",
        VECTORS,
        "load(rotation + (i + o) * k + j)",
        "load(rotation + (FAULT ? j % l * k + i + o : (i + o) * k + j))",
    ),
    ("a combination without its start", VECTORS, "sum = from ? load", "sum = from && !FAULT ? load"),
]
