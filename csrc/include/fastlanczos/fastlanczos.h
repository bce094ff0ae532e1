/* Lanczos with full reorthogonalization for C, Fortran, Julia, Numba, Cython: a stable interface.
 *
 * Compile include/fastlanczos/c_interface.cpp once with a C++17 compiler and link with it, or load the functions from
 * the Python extension, whose path `fastlanczos.get_library()` tells. The results have the same bits either way.
 *
 *     fastlanczos_run* run;
 *     fastlanczos_create(n, max_steps, FASTLANCZOS_FLOAT64, &run);
 *     fastlanczos_start(run, v0);
 *     fastlanczos_advance(run, max_steps, multiply, data);
 *     k = fastlanczos_steps(run);
 *     fastlanczos_result(run, alpha, beta, &residual_norm);
 *     fastlanczos_quadrature(k, alpha, beta, nodes, weights);
 *     fastlanczos_free(run);
 *
 * Functions return one of the codes below; after an error `fastlanczos_message` says what was wrong. A run is used by
 * one thread at a time; different runs by as many as there are. Within a version of the interface nothing is changed
 * or removed, only added.
 */
#ifndef FASTLANCZOS_H
#define FASTLANCZOS_H

#include <stdint.h>

#define FASTLANCZOS_INTERFACE_VERSION 1

#if defined(_WIN32)
#define FASTLANCZOS_API __declspec(dllexport)
#else
#define FASTLANCZOS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Codes: at least 0 where all is well. */
enum {
    FASTLANCZOS_RUNNING = 0,     /* another step may follow */
    FASTLANCZOS_COMPLETE = 1,    /* all steps have been taken */
    FASTLANCZOS_BREAKDOWN = 2,   /* the Krylov space is invariant: the Ritz values are eigenvalues */
    FASTLANCZOS_ARGUMENT = -1,   /* a wrong argument */
    FASTLANCZOS_MEMORY = -2,     /* not enough memory */
    FASTLANCZOS_NOT_FINITE = -3, /* a product with NaN or infinite entries; the run is as before it */
    FASTLANCZOS_STOPPED = -4,    /* the product's function returned other than 0; the run is as before it */
    FASTLANCZOS_OTHER = -5
};

/* What is kept of the basis: nothing, or rows in single or double precision. Arithmetic is double in any case. */
enum { FASTLANCZOS_NO_BASIS = 0, FASTLANCZOS_FLOAT32 = 4, FASTLANCZOS_FLOAT64 = 8 };

typedef struct fastlanczos_run fastlanczos_run;

/* Writes A x into y, both of n entries, and returns 0; anything else stops. `data` is passed on. */
typedef int (*fastlanczos_matvec)(int64_t n, const double* x, double* y, void* data);

/* FASTLANCZOS_INTERFACE_VERSION of the library that is called. */
FASTLANCZOS_API int fastlanczos_interface_version(void);

/* A run of at most max_steps steps with vectors of n entries; *run is NULL after an error. */
FASTLANCZOS_API int fastlanczos_create(int64_t n, int64_t max_steps, int basis, fastlanczos_run** run);

/* Frees a run; NULL is let through. */
FASTLANCZOS_API void fastlanczos_free(fastlanczos_run* run);

/* Begins from v0 / |v0|, n entries; again, if it was begun before. */
FASTLANCZOS_API int fastlanczos_start(fastlanczos_run* run, const double* v0);

/* The unit vector, n entries, whose product the next step takes. It may be written into. */
FASTLANCZOS_API double* fastlanczos_vector(fastlanczos_run* run);

/* One step with the product of A and fastlanczos_vector. */
FASTLANCZOS_API int fastlanczos_step(fastlanczos_run* run, const double* product);

/* At most so many steps with products of `matvec`. */
FASTLANCZOS_API int fastlanczos_advance(fastlanczos_run* run, int64_t steps, fastlanczos_matvec matvec, void* data);

/* The finished steps k. */
FASTLANCZOS_API int64_t fastlanczos_steps(const fastlanczos_run* run);

/* The tridiagonal matrix: alpha (k), beta (k - 1), and the norm of what A leaves outside. Each may be NULL. */
FASTLANCZOS_API int fastlanczos_result(const fastlanczos_run* run, double* alpha, double* beta, double* residual_norm);

/* Copies row i of the basis, n entries. */
FASTLANCZOS_API int fastlanczos_row(fastlanczos_run* run, int64_t i, double* row);

/* Eigenvalues of a tridiagonal matrix, ascending, and the squares of the first components of its eigenvectors (m). */
FASTLANCZOS_API int fastlanczos_quadrature(int64_t m, const double* alpha, const double* beta, double* nodes,
                                           double* weights);

/* What was wrong in the last call with this run, or (NULL) in this thread's last call without one. Never NULL. */
FASTLANCZOS_API const char* fastlanczos_message(const fastlanczos_run* run);

#ifdef __cplusplus
}
#endif

#endif
