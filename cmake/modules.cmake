# um_module(<name> <sources...>): one static library a layer. What a layer may include is checked by
# the layers test (layers.txt); what it links is stated in its own CMakeLists.txt.
function(um_module name)
    add_library(um_${name} STATIC ${ARGN})
    target_include_directories(um_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
endfunction()

# um_kernel_flags(<source> <flags...>): instruction-set flags for one file, and optimisation in Debug.
function(um_kernel_flags source)
    set(flags ${ARGN})
    if(UM_OPTIMIZE_KERNELS AND NOT CMAKE_BUILD_TYPE STREQUAL "Release")
        list(APPEND flags -O2)
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
endfunction()
