/* Lanczos from C: the largest eigenvalue of a two-dimensional Laplacian, which is known.
 *
 *     INCLUDE=$(python -m fastlanczos --include)
 *     c++ -O3 -std=c++17 -pthread -ffp-contract=fast -fno-math-errno -c $INCLUDE/fastlanczos/c_interface.cpp
 *     cc -O2 -I$INCLUDE laplacian.c c_interface.o -lstdc++ -lm -pthread
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fastlanczos/fastlanczos.h"

static int multiply(int64_t n, const double* x, double* y, void* data) {
    const int64_t side = *(const int64_t*)data;
    for (int64_t i = 0; i < n; ++i) {
        y[i] = 4.0 * x[i];
        if (i >= side) y[i] -= x[i - side];
        if (i + side < n) y[i] -= x[i + side];
        if (i % side > 0) y[i] -= x[i - 1];
        if (i % side + 1 < side) y[i] -= x[i + 1];
    }
    return 0;
}

int main(void) {
    int64_t side = 60;
    const int64_t n = side * side, steps = 200;
    double* v0 = malloc(sizeof(double) * (size_t)n);
    double alpha[200], beta[199], nodes[200], weights[200], residual_norm;
    for (int64_t i = 0; i < n; ++i) v0[i] = (double)((i * i) % 97 + 1);

    fastlanczos_run* run;
    if (fastlanczos_create(n, steps, FASTLANCZOS_FLOAT64, &run) < 0 || fastlanczos_start(run, v0) < 0 ||
        fastlanczos_advance(run, steps, multiply, &side) < 0) {
        fprintf(stderr, "%s\n", fastlanczos_message(run));
        return 1;
    }
    const int64_t k = fastlanczos_steps(run);
    fastlanczos_result(run, alpha, beta, &residual_norm);
    fastlanczos_quadrature(k, alpha, beta, nodes, weights);
    const double exact = 8.0 * pow(cos(acos(-1.0) / (2.0 * (double)(side + 1))), 2.0);
    printf("%lld steps, largest eigenvalue %.12f, exact %.12f\n", (long long)k, nodes[k - 1], exact);
    for (int64_t i = 0; i < k; ++i) printf("%a\n", alpha[i]);
    fastlanczos_free(run);
    free(v0);
    return fabs(nodes[k - 1] - exact) < 1e-10 ? 0 : 1;
}
