# Installs the library, its headers, a CMake package and a pkg-config file. All of it can be moved as one tree.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(penstock_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/penstock)

install(TARGETS penstock EXPORT penstock-targets
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT penstock_runtime
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT penstock_runtime NAMELINK_COMPONENT penstock_development
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT penstock_development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/penstock DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT penstock_development FILES_MATCHING PATTERN "*.hpp")

# While the version is 0.x, each minor version may break its users.
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/penstock-config.cmake.in
  ${PROJECT_BINARY_DIR}/penstock-config.cmake INSTALL_DESTINATION ${penstock_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/penstock-config-version.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT penstock-targets NAMESPACE penstock:: DESTINATION ${penstock_package_dir}
  COMPONENT penstock_development)
install(FILES ${PROJECT_BINARY_DIR}/penstock-config.cmake ${PROJECT_BINARY_DIR}/penstock-config-version.cmake
  DESTINATION ${penstock_package_dir} COMPONENT penstock_development)

# The prefix is found from where the .pc file lies; how far up depends on the depth of the library folder.
file(RELATIVE_PATH penstock_pc_up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" penstock_pc_up "${penstock_pc_up}")
set(penstock_pc_requires "absl_any_invocable, absl_core_headers, absl_status, absl_statusor")
set(penstock_pc_requires_private "fmt")
get_target_property(penstock_type penstock TYPE)
if(NOT penstock_type STREQUAL "SHARED_LIBRARY")
  # Users of a static library link what it needs, and few of them ask pkg-config for --static.
  string(APPEND penstock_pc_requires ", ${penstock_pc_requires_private}")
  set(penstock_pc_requires_private "")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/penstock.pc.in ${PROJECT_BINARY_DIR}/penstock.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/penstock.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT penstock_development)
