// The one file to compile for programs that use fastlanczos.h.
#include "c_interface.hpp"
