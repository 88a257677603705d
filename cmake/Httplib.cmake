# The interface target penstock_httplib, for examples and tests that speak HTTP, if cpp-httplib is installed. Included by
# each folder that uses it, for the targets of a package are those of one folder.
#
# cpp-httplib comes as a compiled library with a .pc file (Debian), as a CMake package, or as a header. How it was compiled
# changes the size of its classes, so the flags of the .pc file are the only right ones for a compiled one.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(penstock_httplib_pc QUIET IMPORTED_TARGET cpp-httplib)
endif()
find_package(httplib QUIET CONFIG)
find_package(Threads REQUIRED)
find_path(PENSTOCK_HTTPLIB_INCLUDE_DIR httplib.h)
mark_as_advanced(PENSTOCK_HTTPLIB_INCLUDE_DIR)

set(penstock_httplib_from "")
if(TARGET PkgConfig::penstock_httplib_pc)
  set(penstock_httplib_from PkgConfig::penstock_httplib_pc)
elseif(TARGET httplib::httplib)
  set(penstock_httplib_from httplib::httplib)
endif()
if(NOT TARGET penstock_httplib AND (penstock_httplib_from OR PENSTOCK_HTTPLIB_INCLUDE_DIR))
  add_library(penstock_httplib INTERFACE)
  target_link_libraries(penstock_httplib INTERFACE ${penstock_httplib_from} Threads::Threads)
  if(NOT penstock_httplib_from)
    target_include_directories(penstock_httplib SYSTEM INTERFACE ${PENSTOCK_HTTPLIB_INCLUDE_DIR})
  endif()
endif()
