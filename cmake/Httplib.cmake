# The interface target penstock_httplib, for examples and tests that speak HTTP, if cpp-httplib is installed.
#
# It comes as a compiled library with a .pc file (Debian), as a CMake package, or as a header. How it was compiled changes
# the size of its classes, so the flags of the .pc file are the only right ones for a compiled one.
include_guard(GLOBAL)

find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(penstock_httplib_pc QUIET IMPORTED_TARGET GLOBAL cpp-httplib)
endif()
find_package(httplib QUIET CONFIG)
find_path(PENSTOCK_HTTPLIB_INCLUDE_DIR httplib.h)
mark_as_advanced(PENSTOCK_HTTPLIB_INCLUDE_DIR)
find_package(Threads REQUIRED)
if(TARGET PkgConfig::penstock_httplib_pc)
  add_library(penstock_httplib INTERFACE)
  target_link_libraries(penstock_httplib INTERFACE PkgConfig::penstock_httplib_pc Threads::Threads)
elseif(TARGET httplib::httplib)
  add_library(penstock_httplib INTERFACE)
  target_link_libraries(penstock_httplib INTERFACE httplib::httplib Threads::Threads)
elseif(PENSTOCK_HTTPLIB_INCLUDE_DIR)
  add_library(penstock_httplib INTERFACE)
  target_include_directories(penstock_httplib SYSTEM INTERFACE ${PENSTOCK_HTTPLIB_INCLUDE_DIR})
  target_link_libraries(penstock_httplib INTERFACE Threads::Threads)
endif()
