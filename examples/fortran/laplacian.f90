! Lanczos from Fortran: the largest eigenvalue of a two-dimensional Laplacian, which is known.
!
!     INCLUDE=$(python -m fastlanczos --include)
!     c++ -O3 -std=c++17 -pthread -ffp-contract=fast -fno-math-errno -c $INCLUDE/fastlanczos/c_interface.cpp
!     gfortran -O2 laplacian.f90 c_interface.o -lstdc++ -pthread
module fastlanczos
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int), parameter :: float64 = 8
  interface
    integer(c_int) function create(n, max_steps, basis, run) bind(c, name="fastlanczos_create")
      import :: c_int, c_int64_t, c_ptr
      integer(c_int64_t), value :: n, max_steps
      integer(c_int), value :: basis
      type(c_ptr) :: run
    end function
    integer(c_int) function start(run, v0) bind(c, name="fastlanczos_start")
      import :: c_int, c_ptr, c_double
      type(c_ptr), value :: run
      real(c_double), intent(in) :: v0(*)
    end function
    integer(c_int) function advance(run, steps, matvec, data) bind(c, name="fastlanczos_advance")
      import :: c_int, c_int64_t, c_ptr, c_funptr
      type(c_ptr), value :: run, data
      integer(c_int64_t), value :: steps
      type(c_funptr), value :: matvec
    end function
    integer(c_int64_t) function num_steps(run) bind(c, name="fastlanczos_steps")
      import :: c_int64_t, c_ptr
      type(c_ptr), value :: run
    end function
    integer(c_int) function result(run, alpha, beta, residual_norm) bind(c, name="fastlanczos_result")
      import :: c_int, c_ptr, c_double
      type(c_ptr), value :: run
      real(c_double) :: alpha(*), beta(*), residual_norm
    end function
    integer(c_int) function quadrature(m, alpha, beta, nodes, weights) bind(c, name="fastlanczos_quadrature")
      import :: c_int, c_int64_t, c_double
      integer(c_int64_t), value :: m
      real(c_double) :: alpha(*), beta(*), nodes(*), weights(*)
    end function
    subroutine free(run) bind(c, name="fastlanczos_free")
      import :: c_ptr
      type(c_ptr), value :: run
    end subroutine
  end interface
end module

module operator
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int64_t), parameter :: side = 60, n = side * side
contains
  integer(c_int) function multiply(length, x, y, data) bind(c)
    integer(c_int64_t), value :: length
    real(c_double), intent(in) :: x(length)
    real(c_double), intent(out) :: y(length)
    type(c_ptr), value :: data
    integer(c_int64_t) :: i
    do i = 1, length
      y(i) = 4 * x(i)
      if (i > side) y(i) = y(i) - x(i - side)
      if (i + side <= length) y(i) = y(i) - x(i + side)
      if (mod(i - 1, side) > 0) y(i) = y(i) - x(i - 1)
      if (mod(i - 1, side) + 1 < side) y(i) = y(i) - x(i + 1)
    end do
    multiply = 0
  end function
end module

program laplacian
  use fastlanczos
  use operator
  implicit none
  integer(c_int64_t), parameter :: steps = 200
  real(c_double) :: v0(n), alpha(steps), beta(steps), nodes(steps), weights(steps), residual_norm, exact
  type(c_ptr) :: run
  integer(c_int64_t) :: i, k
  do i = 1, n
    v0(i) = real(mod((i - 1) ** 2, 97_c_int64_t) + 1, c_double)
  end do
  if (create(n, steps, float64, run) < 0) stop 1
  if (start(run, v0) < 0) stop 2
  if (advance(run, steps, c_funloc(multiply), c_null_ptr) < 0) stop 3
  k = num_steps(run)
  if (result(run, alpha, beta, residual_norm) < 0) stop 4
  if (quadrature(k, alpha, beta, nodes, weights) < 0) stop 5
  exact = 8 * cos(acos(-1.0_c_double) / (2 * (side + 1))) ** 2
  print "(i0, a, f0.12, a, f0.12)", k, " steps, largest eigenvalue ", nodes(k), ", exact ", exact
  do i = 1, k
    print "(z16.16)", transfer(alpha(i), 0_c_int64_t)
  end do
  call free(run)
  if (abs(nodes(k) - exact) > 1e-10_c_double) stop 6
end program
