%0 = load ptr, ptr %1
%2 = load ptr, ptr %3
%4 = load ptr, ptr %5
call void @"llvm.prefetch.p0"(ptr %4, i32 0, i32 2, i32 1)
%6 = load <16 x float>, ptr %2, align 4
%7 = getelementptr inbounds float, ptr %2, i64 16
%8 = load <16 x float>, ptr %7, align 4
%9 = load float, ptr %0, align 4
%10 = insertelement <16 x float> undef, float %9, i32 0
%11 = shufflevector <16 x float> %10, <16 x float> undef, <16 x i32> zeros
%12 = load <16 x float>, <16 x float>* %13
%14 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %11, <16 x float> %6, <16 x float> %12)
store <16 x float> %14, <16 x float>* %13
%15 = load <16 x float>, <16 x float>* %16
%17 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %11, <16 x float> %8, <16 x float> %15)
store <16 x float> %17, <16 x float>* %16
%18 = getelementptr inbounds float, ptr %0, i64 1
%19 = load float, ptr %18, align 4
%20 = insertelement <16 x float> undef, float %19, i32 0
%21 = shufflevector <16 x float> %20, <16 x float> undef, <16 x i32> zeros
%22 = load <16 x float>, <16 x float>* %23
%24 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %21, <16 x float> %6, <16 x float> %22)
store <16 x float> %24, <16 x float>* %23
%25 = load <16 x float>, <16 x float>* %26
%27 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %21, <16 x float> %8, <16 x float> %25)
store <16 x float> %27, <16 x float>* %26
%28 = getelementptr inbounds float, ptr %0, i64 2
%29 = load float, ptr %28, align 4
%30 = insertelement <16 x float> undef, float %29, i32 0
%31 = shufflevector <16 x float> %30, <16 x float> undef, <16 x i32> zeros
%32 = load <16 x float>, <16 x float>* %33
%34 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %31, <16 x float> %6, <16 x float> %32)
store <16 x float> %34, <16 x float>* %33
%35 = load <16 x float>, <16 x float>* %36
%37 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %31, <16 x float> %8, <16 x float> %35)
store <16 x float> %37, <16 x float>* %36
%38 = getelementptr inbounds float, ptr %0, i64 3
%39 = load float, ptr %38, align 4
%40 = insertelement <16 x float> undef, float %39, i32 0
%41 = shufflevector <16 x float> %40, <16 x float> undef, <16 x i32> zeros
%42 = load <16 x float>, <16 x float>* %43
%44 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %41, <16 x float> %6, <16 x float> %42)
store <16 x float> %44, <16 x float>* %43
%45 = load <16 x float>, <16 x float>* %46
%47 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %41, <16 x float> %8, <16 x float> %45)
store <16 x float> %47, <16 x float>* %46
%48 = getelementptr inbounds float, ptr %0, i64 4
%49 = load float, ptr %48, align 4
%50 = insertelement <16 x float> undef, float %49, i32 0
%51 = shufflevector <16 x float> %50, <16 x float> undef, <16 x i32> zeros
%52 = load <16 x float>, <16 x float>* %53
%54 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %51, <16 x float> %6, <16 x float> %52)
store <16 x float> %54, <16 x float>* %53
%55 = load <16 x float>, <16 x float>* %56
%57 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %51, <16 x float> %8, <16 x float> %55)
store <16 x float> %57, <16 x float>* %56
%58 = getelementptr inbounds float, ptr %0, i64 5
%59 = load float, ptr %58, align 4
%60 = insertelement <16 x float> undef, float %59, i32 0
%61 = shufflevector <16 x float> %60, <16 x float> undef, <16 x i32> zeros
%62 = load <16 x float>, <16 x float>* %63
%64 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %61, <16 x float> %6, <16 x float> %62)
store <16 x float> %64, <16 x float>* %63
%65 = load <16 x float>, <16 x float>* %66
%67 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %61, <16 x float> %8, <16 x float> %65)
store <16 x float> %67, <16 x float>* %66
%68 = getelementptr inbounds float, ptr %0, i64 6
%69 = load float, ptr %68, align 4
%70 = insertelement <16 x float> undef, float %69, i32 0
%71 = shufflevector <16 x float> %70, <16 x float> undef, <16 x i32> zeros
%72 = load <16 x float>, <16 x float>* %73
%74 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %71, <16 x float> %6, <16 x float> %72)
store <16 x float> %74, <16 x float>* %73
%75 = load <16 x float>, <16 x float>* %76
%77 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %71, <16 x float> %8, <16 x float> %75)
store <16 x float> %77, <16 x float>* %76
%78 = getelementptr inbounds float, ptr %0, i64 7
%79 = load float, ptr %78, align 4
%80 = insertelement <16 x float> undef, float %79, i32 0
%81 = shufflevector <16 x float> %80, <16 x float> undef, <16 x i32> zeros
%82 = load <16 x float>, <16 x float>* %83
%84 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %81, <16 x float> %6, <16 x float> %82)
store <16 x float> %84, <16 x float>* %83
%85 = load <16 x float>, <16 x float>* %86
%87 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %81, <16 x float> %8, <16 x float> %85)
store <16 x float> %87, <16 x float>* %86
%88 = getelementptr inbounds float, ptr %0, i64 8
%89 = load float, ptr %88, align 4
%90 = insertelement <16 x float> undef, float %89, i32 0
%91 = shufflevector <16 x float> %90, <16 x float> undef, <16 x i32> zeros
%92 = load <16 x float>, <16 x float>* %93
%94 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %91, <16 x float> %6, <16 x float> %92)
store <16 x float> %94, <16 x float>* %93
%95 = load <16 x float>, <16 x float>* %96
%97 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %91, <16 x float> %8, <16 x float> %95)
store <16 x float> %97, <16 x float>* %96
%98 = getelementptr inbounds float, ptr %0, i64 9
%99 = load float, ptr %98, align 4
%100 = insertelement <16 x float> undef, float %99, i32 0
%101 = shufflevector <16 x float> %100, <16 x float> undef, <16 x i32> zeros
%102 = load <16 x float>, <16 x float>* %103
%104 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %101, <16 x float> %6, <16 x float> %102)
store <16 x float> %104, <16 x float>* %103
%105 = load <16 x float>, <16 x float>* %106
%107 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %101, <16 x float> %8, <16 x float> %105)
store <16 x float> %107, <16 x float>* %106
%108 = getelementptr inbounds float, ptr %0, i64 10
%109 = load float, ptr %108, align 4
%110 = insertelement <16 x float> undef, float %109, i32 0
%111 = shufflevector <16 x float> %110, <16 x float> undef, <16 x i32> zeros
%112 = load <16 x float>, <16 x float>* %113
%114 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %111, <16 x float> %6, <16 x float> %112)
store <16 x float> %114, <16 x float>* %113
%115 = load <16 x float>, <16 x float>* %116
%117 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %111, <16 x float> %8, <16 x float> %115)
store <16 x float> %117, <16 x float>* %116
%118 = getelementptr inbounds float, ptr %0, i64 11
%119 = load float, ptr %118, align 4
%120 = insertelement <16 x float> undef, float %119, i32 0
%121 = shufflevector <16 x float> %120, <16 x float> undef, <16 x i32> zeros
%122 = load <16 x float>, <16 x float>* %123
%124 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %121, <16 x float> %6, <16 x float> %122)
store <16 x float> %124, <16 x float>* %123
%125 = load <16 x float>, <16 x float>* %126
%127 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %121, <16 x float> %8, <16 x float> %125)
store <16 x float> %127, <16 x float>* %126
%128 = getelementptr inbounds float, ptr %0, i64 12
%129 = load float, ptr %128, align 4
%130 = insertelement <16 x float> undef, float %129, i32 0
%131 = shufflevector <16 x float> %130, <16 x float> undef, <16 x i32> zeros
%132 = load <16 x float>, <16 x float>* %133
%134 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %131, <16 x float> %6, <16 x float> %132)
store <16 x float> %134, <16 x float>* %133
%135 = load <16 x float>, <16 x float>* %136
%137 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %131, <16 x float> %8, <16 x float> %135)
store <16 x float> %137, <16 x float>* %136
%138 = getelementptr inbounds float, ptr %0, i64 13
store ptr %138, ptr %1
%139 = getelementptr inbounds float, ptr %2, i64 32
store ptr %139, ptr %3
%140 = getelementptr inbounds float, ptr %4, i64 %141
store ptr %140, ptr %5
%142 = add nsw i64 %143, 1
store i64 %142, i64* %144
br label %145
