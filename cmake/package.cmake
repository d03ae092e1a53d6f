# SPDX-License-Identifier: Apache-2.0
# package.cmake - what `cmake --install` puts where on a Debian system, and `cpack -G DEB`.
#
#   /usr/sbin/ilorad  /usr/bin/iloractl  /usr/lib/systemd/system/*  /usr/lib/sysusers.d/ilorad.conf
#   /etc/ilorad/ilorad.conf  /usr/share/man  /usr/share/doc/ilorad  /usr/share/ilorad/ilorad.proto
if(NOT ILORA_DAEMON)
  return()
endif()

install(TARGETS ilorad RUNTIME DESTINATION sbin)
install(TARGETS iloractl RUNTIME DESTINATION bin)
install(FILES
  ${PROJECT_BINARY_DIR}/systemd/ilorad.service
  ${PROJECT_BINARY_DIR}/systemd/ilorad@.service
  DESTINATION lib/systemd/system)
install(FILES ${PROJECT_BINARY_DIR}/systemd/ilorad.sysusers
  DESTINATION lib/sysusers.d RENAME ilorad.conf)
install(FILES ${PROJECT_BINARY_DIR}/ops/ilorad.conf DESTINATION /etc/ilorad)
install(FILES
  ${PROJECT_BINARY_DIR}/ops/ilorad.8.gz
  DESTINATION share/man/man8)
install(FILES ${PROJECT_BINARY_DIR}/ops/iloractl.1.gz DESTINATION share/man/man1)
install(FILES ${PROJECT_BINARY_DIR}/ops/ilorad.conf.5.gz DESTINATION share/man/man5)
install(FILES
  ${PROJECT_SOURCE_DIR}/ops/RUNBOOK.md
  ${PROJECT_SOURCE_DIR}/ops/METRICS.md
  DESTINATION share/doc/ilorad)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/debian/copyright DESTINATION share/doc/ilorad)
install(FILES ${PROJECT_BINARY_DIR}/systemd/gpu.conf DESTINATION share/doc/ilorad/examples)
install(FILES ${PROJECT_SOURCE_DIR}/proto/ilora.proto DESTINATION share/ilorad)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ilorad)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "ilorad maintainers <ilorad@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "online next-item recommendation with iLoRA")
set(CPACK_PACKAGE_DESCRIPTION
"Consumes user-item interactions from Apache Kafka or an embedded stream, keeps
each user's sequence, fine-tunes a frozen language model with instance-wise LoRA
beside an online SASRec as events arrive, and publishes predictions and model
snapshots, each exactly once.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS systemd)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/cmake/debian/conffiles
  ${PROJECT_SOURCE_DIR}/cmake/debian/postinst
  ${PROJECT_SOURCE_DIR}/cmake/debian/prerm
  ${PROJECT_SOURCE_DIR}/cmake/debian/postrm)
include(CPack)
